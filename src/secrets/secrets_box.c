/*-------------------------------------------------------------------------
 *
 * secrets_box.c
 *		Seal bytes, and open them in the place where they belong.  Pure.
 *
 * XChaCha20-Poly1305 as libsodium has it (draft-irtf-cfrg-xchacha): its nonce
 * of 24 bytes is drawn at random for each value.  What is authenticated with
 * a value is its header, of fixed length, and then the context.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "secrets/secrets_internal.h"

#include <sodium.h>

#include "base/bytes.h"

#define AD_SIZE (SECRETS_BOX_HEADER + SECRETS_BOX_CONTEXT)

StaticAssertDecl(SECRETS_BOX_NONCE == crypto_aead_xchacha20poly1305_ietf_NPUBBYTES,
				 "nonce of another size");
StaticAssertDecl(SECRETS_BOX_TAG == crypto_aead_xchacha20poly1305_ietf_ABYTES,
				 "tag of another size");

static bool is_seal_key(const SecretsKey *key);
static size_t associated_data(const uint8 *header, SecretsContext context,
							  uint8 *data);

bool
plinth_secrets_box_seal(const SecretsKey *key, const void *plain, size_t length,
						SecretsContext context, uint8 *sealed)
{
	uint8 *nonce = sealed + SECRETS_BOX_HEADER;
	uint8 data[AD_SIZE];
	size_t data_size;

	if (!is_seal_key(key) || key->state != SECRETS_ACTIVE ||
		context.length > SECRETS_BOX_CONTEXT)
		return false;

	sealed[0] = SECRETS_BOX_VERSION;
	sealed[1] = (uint8) (key->key_id >> 8);
	sealed[2] = (uint8) key->key_id;
	randombytes_buf(nonce, SECRETS_BOX_NONCE);
	data_size = associated_data(sealed, context, data);
	crypto_aead_xchacha20poly1305_ietf_encrypt(nonce + SECRETS_BOX_NONCE, NULL,
											   plain, length, data, data_size,
											   NULL, nonce, key->secret);

	return true;
}

bool
plinth_secrets_box_open(const SecretsKey *key, const uint8 *sealed,
						size_t length, SecretsContext context, void *plain)
{
	const uint8 *nonce = sealed + SECRETS_BOX_HEADER;
	uint8 data[AD_SIZE];
	size_t data_size;

	if (!is_seal_key(key) || key->state == SECRETS_REVOKED ||
		context.length > SECRETS_BOX_CONTEXT ||
		plinth_secrets_box_key(sealed, length) != key->key_id)
		return false;

	data_size = associated_data(sealed, context, data);
	if (crypto_aead_xchacha20poly1305_ietf_decrypt(
			plain, NULL, NULL, nonce + SECRETS_BOX_NONCE,
			length - SECRETS_BOX_HEADER - SECRETS_BOX_NONCE, data, data_size,
			nonce, key->secret) != 0)
	{
		plinth_bytes_zero(plain, length - SECRETS_BOX_OVERHEAD);
		return false;
	}

	return true;
}

int16
plinth_secrets_box_key(const uint8 *sealed, size_t length)
{
	int key_id;

	if (length < SECRETS_BOX_OVERHEAD || sealed[0] != SECRETS_BOX_VERSION)
		return 0;
	key_id = sealed[1] << 8 | sealed[2];

	return key_id <= PG_INT16_MAX ? (int16) key_id : 0;
}

/*
 * HMAC with SHA-256 of a constant.  Of an Ed25519 key the public half is taken,
 * which is all that an imported one has.
 */
void
plinth_secrets_box_check(const SecretsKey *key, uint8 *check)
{
	static const char constant[] = "plinth key check";
	crypto_auth_hmacsha256_state state;

	StaticAssertStmt(SECRETS_CHECK_SIZE == crypto_auth_hmacsha256_BYTES,
					 "check value of another size");
	if (key->algorithm == SECRETS_ED25519)
		crypto_auth_hmacsha256_init(&state, key->public_key,
									sizeof(key->public_key));
	else
		crypto_auth_hmacsha256_init(&state, key->secret, key->secret_size);
	crypto_auth_hmacsha256_update(&state, (const unsigned char *) constant,
								  sizeof(constant) - 1);
	crypto_auth_hmacsha256_final(&state, check);
	plinth_bytes_zero(&state, sizeof(state));
}

static bool
is_seal_key(const SecretsKey *key)
{
	return key->purpose == SECRETS_SEAL && key->algorithm == SECRETS_XCHACHA20 &&
		   key->secret_size == crypto_aead_xchacha20poly1305_ietf_KEYBYTES;
}

static size_t
associated_data(const uint8 *header, SecretsContext context, uint8 *data)
{
	memcpy(data, header, SECRETS_BOX_HEADER);
	memcpy(data + SECRETS_BOX_HEADER, context.text, context.length);

	return SECRETS_BOX_HEADER + context.length;
}

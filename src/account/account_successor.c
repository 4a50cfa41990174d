/*-------------------------------------------------------------------------
 *
 * account_successor.c
 *		The next refresh token, for whoever still has the one before.
 *
 * Refresh tokens are stored as hashes only, yet one whose answer was lost on
 * the way is to get the same successor once more (S3.8).  So the successor is
 * kept sealed under a key that only the token before gives: BLAKE2b (RFC
 * 7693) of that token, personalized so that it is no hash of the token that
 * stands anywhere else.  The token has 256 random bits, so the key needs no
 * salt.  Sealed is by XChaCha20-Poly1305 with a random nonce:
 *
 *		version (1 byte) | nonce (24) | ciphertext and tag
 *
 * with the version as associated data.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "account/account.h"

#include <sodium.h>

#include "fmgr.h"
#include "utils/builtins.h"

#include "base/bytes.h"
#include "base/compat.h"

#define SEAL_VERSION 1
#define NONCE_BYTES crypto_aead_xchacha20poly1305_ietf_NPUBBYTES
#define TAG_BYTES crypto_aead_xchacha20poly1305_ietf_ABYTES
#define KEY_BYTES crypto_aead_xchacha20poly1305_ietf_KEYBYTES
#define SEAL_OVERHEAD (1 + NONCE_BYTES + TAG_BYTES)

static void derive_key(text *token, uint8 *key);

/*
 * plinth.auth_successor_seal(token text, successor text) -> bytea
 *
 * Seal the token that replaces another, for those who have that other.
 */
PG_FUNCTION_INFO_V1(plinth_sql_account_successor_seal);
Datum
plinth_sql_account_successor_seal(PG_FUNCTION_ARGS)
{
	text *successor = PG_GETARG_TEXT_PP(1);
	size_t length = VARSIZE_ANY_EXHDR(successor);
	bytea *sealed = palloc(VARHDRSZ + SEAL_OVERHEAD + length);
	uint8 *bytes = (uint8 *) VARDATA(sealed);
	uint8 key[KEY_BYTES];

	derive_key(PG_GETARG_TEXT_PP(0), key);
	bytes[0] = SEAL_VERSION;
	randombytes_buf(bytes + 1, NONCE_BYTES);
	(void) crypto_aead_xchacha20poly1305_ietf_encrypt(
		bytes + 1 + NONCE_BYTES, NULL, (const uint8 *) VARDATA_ANY(successor),
		length, bytes, 1, NULL, bytes + 1, key);
	plinth_bytes_zero(key, sizeof(key));

	SET_VARSIZE(sealed, VARHDRSZ + SEAL_OVERHEAD + length);
	PG_RETURN_BYTEA_P(sealed);
}

/*
 * plinth.auth_successor_open(token text, sealed bytea) -> text or NULL
 *
 * The successor, or NULL when it was not sealed for this token, or changed.
 */
PG_FUNCTION_INFO_V1(plinth_sql_account_successor_open);
Datum
plinth_sql_account_successor_open(PG_FUNCTION_ARGS)
{
	bytea *sealed = PG_GETARG_BYTEA_PP(1);
	const uint8 *bytes = (const uint8 *) VARDATA_ANY(sealed);
	size_t size = VARSIZE_ANY_EXHDR(sealed);
	uint8 key[KEY_BYTES];
	text *successor;
	bool ok;

	if (size < SEAL_OVERHEAD || bytes[0] != SEAL_VERSION)
		PG_RETURN_NULL();

	successor = palloc(VARHDRSZ + size - SEAL_OVERHEAD);
	derive_key(PG_GETARG_TEXT_PP(0), key);
	ok = crypto_aead_xchacha20poly1305_ietf_decrypt(
			 (uint8 *) VARDATA(successor), NULL, NULL, bytes + 1 + NONCE_BYTES,
			 size - 1 - NONCE_BYTES, bytes, 1, bytes + 1, key) == 0;
	plinth_bytes_zero(key, sizeof(key));
	if (!ok)
		PG_RETURN_NULL();

	SET_VARSIZE(successor, VARHDRSZ + size - SEAL_OVERHEAD);
	PG_RETURN_TEXT_P(successor);
}

static void
derive_key(text *token, uint8 *key)
{
	static const uint8 salt[crypto_generichash_blake2b_SALTBYTES] = {0};
	static const char personal[] = "plinth successor";

	StaticAssertStmt(sizeof(personal) - 1 ==
						 crypto_generichash_blake2b_PERSONALBYTES,
					 "a personalization has 16 bytes");
	(void) crypto_generichash_blake2b_salt_personal(
		key, KEY_BYTES, (const uint8 *) VARDATA_ANY(token),
		VARSIZE_ANY_EXHDR(token), NULL, 0, salt, (const uint8 *) personal);
}

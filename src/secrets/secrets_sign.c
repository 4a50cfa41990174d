/*-------------------------------------------------------------------------
 *
 * secrets_sign.c
 *		Sign with a key, and check a signature.  Pure.
 *
 * libsodium ends the process when it is called with arguments out of range,
 * so sizes are looked at here, before each call.  Its Ed25519 check refuses
 * non-canonical signatures and points of small order.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "secrets/secrets.h"

#include <sodium.h>

#include "base/bytes.h"

static void authenticate(const SecretsKey *key, const void *message,
						 size_t length, uint8 *mac);

const SecretsKey *
plinth_secrets_find(const SecretsRing *ring, SecretsPurpose purpose,
					const char *kid, size_t length)
{
	for (int i = 0; i < ring->count; i++)
	{
		const SecretsKey *key = &ring->keys[i];

		if (key->purpose == purpose && key->state != SECRETS_REVOKED &&
			strlen(key->kid) == length && memcmp(key->kid, kid, length) == 0)
			return key;
	}

	return NULL;
}

const SecretsKey *
plinth_secrets_active(const SecretsRing *ring, SecretsPurpose purpose,
					  SecretsAlgorithm algorithm)
{
	const SecretsKey *found = NULL;

	for (int i = 0; i < ring->count; i++)
	{
		const SecretsKey *key = &ring->keys[i];

		if (key->purpose != purpose || key->algorithm != algorithm ||
			key->state != SECRETS_ACTIVE)
			continue;
		if (found != NULL)
			return NULL;
		found = key;
	}

	return found;
}

bool
plinth_secrets_lapsed(const SecretsKey *key, double now)
{
	int64 since = key->changed_at != 0 ? key->changed_at : key->created_at;

	return key->state == SECRETS_RETIRED &&
		   (double) since + SECRETS_TOKEN_LIFE <= now;
}

const SecretsKey *
plinth_secrets_numbered(const SecretsRing *ring, SecretsPurpose purpose,
						int16 key_id)
{
	for (int i = 0; i < ring->count; i++)
		if (ring->keys[i].purpose == purpose && ring->keys[i].key_id == key_id)
			return &ring->keys[i];

	return NULL;
}

size_t
plinth_secrets_sign(const SecretsKey *key, const void *message, size_t length,
					uint8 *signature)
{
	if (key->state != SECRETS_ACTIVE)
		return 0;

	switch (key->algorithm)
	{
		case SECRETS_HS256:
		case SECRETS_HMAC:
			if (key->secret_size < SECRETS_MIN_KEY)
				return 0;
			authenticate(key, message, length, signature);
			return crypto_auth_hmacsha256_BYTES;

		case SECRETS_ED25519:
			if (key->secret_size != crypto_sign_SECRETKEYBYTES)
				return 0;
			crypto_sign_detached(signature, NULL, message, length, key->secret);
			return crypto_sign_BYTES;

		case SECRETS_XCHACHA20:
			break;
	}

	return 0;
}

bool
plinth_secrets_verify(const SecretsKey *key, const void *message, size_t length,
					  const uint8 *signature, size_t signature_size)
{
	uint8 mac[crypto_auth_hmacsha256_BYTES];
	bool same;

	if (key->state == SECRETS_REVOKED)
		return false;

	switch (key->algorithm)
	{
		case SECRETS_HS256:
		case SECRETS_HMAC:
			if (signature_size != sizeof(mac) ||
				key->secret_size < SECRETS_MIN_KEY)
				return false;
			authenticate(key, message, length, mac);
			same = plinth_bytes_equal(mac, signature, sizeof(mac));
			plinth_bytes_zero(mac, sizeof(mac));
			return same;

		case SECRETS_ED25519:
			return signature_size == crypto_sign_BYTES &&
				   crypto_sign_verify_detached(signature, message, length,
											   key->public_key) == 0;

		case SECRETS_XCHACHA20:
			break;
	}

	return false;
}

/*
 * HMAC with SHA-256 (RFC 2104) under a key of any length.
 */
static void
authenticate(const SecretsKey *key, const void *message, size_t length, uint8 *mac)
{
	crypto_auth_hmacsha256_state state;

	crypto_auth_hmacsha256_init(&state, key->secret, key->secret_size);
	crypto_auth_hmacsha256_update(&state, message, length);
	crypto_auth_hmacsha256_final(&state, mac);
	plinth_bytes_zero(&state, sizeof(state));
}

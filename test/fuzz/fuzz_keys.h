/*-------------------------------------------------------------------------
 *
 * fuzz_keys.h
 *		A keyring for the fuzz targets, the same in every run.
 *
 * Its keys are worth nothing: they are made from the numbers of their places.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PLINTH_FUZZ_KEYS_H
#define PLINTH_FUZZ_KEYS_H

#include "postgres.h"

#include <sodium.h>

#include "secrets/secrets_internal.h"

#define FUZZ_KEYS 6

/* What must hold, whatever the input. */
#define FUZZ_CHECK(condition) \
	do                        \
	{                         \
		if (!(condition))     \
			abort();          \
	} while (0)

/*
 * 1 token HS256, 2 token Ed25519, 3 seal, 4 seal retired, 5 token Ed25519
 * retired long ago, 6 token Ed25519 revoked.
 */
static inline SecretsRing *
fuzz_ring(void)
{
	static const struct
	{
		const char *kid;
		SecretsPurpose purpose;
		SecretsAlgorithm algorithm;
		SecretsState state;
	} keys[FUZZ_KEYS] = {
		{"hs", SECRETS_TOKEN, SECRETS_HS256, SECRETS_ACTIVE},
		{"ed", SECRETS_TOKEN, SECRETS_ED25519, SECRETS_ACTIVE},
		{"seal", SECRETS_SEAL, SECRETS_XCHACHA20, SECRETS_ACTIVE},
		{"seal-old", SECRETS_SEAL, SECRETS_XCHACHA20, SECRETS_RETIRED},
		{"ed-old", SECRETS_TOKEN, SECRETS_ED25519, SECRETS_RETIRED},
		{"ed-known", SECRETS_TOKEN, SECRETS_ED25519, SECRETS_REVOKED},
	};
	static SecretsRing *ring = NULL;

	if (ring != NULL)
		return ring;
	FUZZ_CHECK(sodium_init() >= 0);
	ring = calloc(1, SECRETS_RING_SIZE(FUZZ_KEYS));
	FUZZ_CHECK(ring != NULL);
	for (int i = 0; i < FUZZ_KEYS; i++)
	{
		SecretsKey *key = &ring->keys[ring->count++];
		uint8 seed[crypto_sign_SEEDBYTES];

		memset(seed, i + 1, sizeof(seed));
		key->key_id = (int16) (i + 1);
		strcpy(key->kid, keys[i].kid);
		key->purpose = keys[i].purpose;
		key->algorithm = keys[i].algorithm;
		key->state = keys[i].state;
		key->created_at = 1000000000;
		if (key->algorithm == SECRETS_ED25519)
		{
			crypto_sign_seed_keypair(key->public_key, key->secret, seed);
			key->secret_size = crypto_sign_SECRETKEYBYTES;
		}
		else
		{
			memcpy(key->secret, seed, sizeof(seed));
			key->secret_size = sizeof(seed);
		}
	}

	return ring;
}

/* A copy that ends where the memory ends, so that a byte too far is seen. */
static inline void *
fuzz_copy(const void *bytes, size_t size)
{
	void *copy = malloc(Max(size, 1));

	FUZZ_CHECK(copy != NULL);
	memcpy(copy, bytes, size);

	return copy;
}

#endif /* PLINTH_FUZZ_KEYS_H */

/*-------------------------------------------------------------------------
 *
 * secrets_jwk.c
 *		JSON Web Keys (RFC 7517, RFC 8037) to keys of ours.  Pure.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "secrets/secrets_internal.h"

#include <sodium.h>

#include "base/bytes.h"

/* Characters of the base64url form of the longest key. */
#define TEXT_SIZE (PLINTH_BASE64URL_SIZE(SECRETS_MAX_KEY) + 1)

/* Bytes of a string of JSON for the longest key id, all of it escaped. */
#define KID_JSON_SIZE (2 + 6 * (SECRETS_KID_SIZE - 1))

static const char *read_symmetric(const JsonSlice *jwk, SecretsKey *key);
static const char *read_edwards(const JsonSlice *jwk, SecretsKey *key);
static const char *read_kid(const JsonSlice *jwk, SecretsKey *key);
static bool read_bytes(const JsonSlice *jwk, const char *member, uint8 *bytes,
					   size_t room, size_t *size);
static void thumbprint(SecretsKey *key);

const char *
plinth_secrets_read_jwk(const JsonSlice *jwk, SecretsKey *key)
{
	JsonSlice value;
	const char *problem;

	memset(key, 0, sizeof(*key));
	key->purpose = SECRETS_TOKEN;
	key->state = SECRETS_VERIFY;

	if (jwk->kind != JSON_OBJECT)
		return "A key must be a JSON object.";
	if (plinth_json_member(jwk, "use", &value) && !plinth_json_is(&value, "sig"))
		return "The \"use\" of a key must be \"sig\" when it is given.";
	if (!plinth_json_member(jwk, "kty", &value))
		return "A key must have a \"kty\".";

	if (plinth_json_is(&value, "oct"))
		problem = read_symmetric(jwk, key);
	else if (plinth_json_is(&value, "OKP"))
		problem = read_edwards(jwk, key);
	else
		problem = "The \"kty\" of a key must be \"oct\" or \"OKP\".";

	return problem != NULL ? problem : read_kid(jwk, key);
}

static const char *
read_symmetric(const JsonSlice *jwk, SecretsKey *key)
{
	JsonSlice value;

	if (plinth_json_member(jwk, "alg", &value) && !plinth_json_is(&value, "HS256"))
		return "The \"alg\" of a key of type \"oct\" must be \"HS256\" when it is given.";
	key->algorithm = SECRETS_HS256;

	if (!read_bytes(jwk, "k", key->secret, sizeof(key->secret), &key->secret_size))
		return "The \"k\" of a key must be base64url without padding, of at most 256 bytes.";
	if (key->secret_size < SECRETS_MIN_KEY)
		return "A key for HS256 must have at least 32 bytes.";

	return NULL;
}

static const char *
read_edwards(const JsonSlice *jwk, SecretsKey *key)
{
	uint8 seed[crypto_sign_SEEDBYTES];
	uint8 seed_public[crypto_sign_PUBLICKEYBYTES];
	uint8 seed_secret[crypto_sign_SECRETKEYBYTES];
	JsonSlice value;
	size_t size;
	bool ok;

	if (!plinth_json_member(jwk, "crv", &value) ||
		!plinth_json_is(&value, "Ed25519"))
		return "The \"crv\" of a key of type \"OKP\" must be \"Ed25519\".";
	if (plinth_json_member(jwk, "alg", &value) && !plinth_json_is(&value, "EdDSA"))
		return "The \"alg\" of a key of type \"OKP\" must be \"EdDSA\" when it is given.";
	key->algorithm = SECRETS_ED25519;

	if (!read_bytes(jwk, "x", key->public_key, sizeof(key->public_key), &size) ||
		size != sizeof(key->public_key))
		return "The \"x\" of a key must be base64url without padding, of 32 bytes.";
	if (!crypto_core_ed25519_is_valid_point(key->public_key))
		return "The \"x\" of a key must be a point of the main group of Ed25519.";

	/*
	 * An imported key verifies only, so its private half is not kept; but a
	 * half that does not belong to the other shows a mistake.
	 */
	if (!plinth_json_member(jwk, "d", &value))
		return NULL;
	if (!read_bytes(jwk, "d", seed, sizeof(seed), &size) || size != sizeof(seed))
		return "The \"d\" of a key must be base64url without padding, of 32 bytes.";
	crypto_sign_seed_keypair(seed_public, seed_secret, seed);
	ok = plinth_bytes_equal(seed_public, key->public_key, sizeof(seed_public));
	plinth_bytes_zero(seed, sizeof(seed));
	plinth_bytes_zero(seed_secret, sizeof(seed_secret));

	return ok ? NULL : "The \"d\" and the \"x\" of a key must belong together.";
}

/*
 * Read the key's id; without one it gets its thumbprint.
 */
static const char *
read_kid(const JsonSlice *jwk, SecretsKey *key)
{
	JsonSlice value;

	if (!plinth_json_member(jwk, "kid", &value))
	{
		thumbprint(key);
		return NULL;
	}

	if (value.kind == JSON_STRING && value.length <= KID_JSON_SIZE)
	{
		char text[KID_JSON_SIZE];
		size_t length = plinth_json_text(&value, text);
		bool ok = length >= 1 && length < SECRETS_KID_SIZE;

		for (size_t i = 0; ok && i < length; i++)
			ok = text[i] > ' ' && text[i] <= '~';
		if (ok)
		{
			memcpy(key->kid, text, length + 1);
			return NULL;
		}
	}

	return "The \"kid\" of a key must have 1 to 64 printable ASCII characters and no space.";
}

/*
 * Read a member that holds base64url, of at most room bytes.
 */
static bool
read_bytes(const JsonSlice *jwk, const char *member, uint8 *bytes, size_t room,
		   size_t *size)
{
	JsonSlice value;

	/* the alphabet has nothing to escape, so the text is taken as it stands */
	return plinth_json_member(jwk, member, &value) && value.kind == JSON_STRING &&
		   PLINTH_BASE64URL_BYTES(value.length - 2) <= room &&
		   plinth_bytes_from_base64url(value.start + 1, value.length - 2, bytes,
									   size);
}

/*
 * RFC 7638: the hash of the required members in order, without spaces.
 */
static void
thumbprint(SecretsKey *key)
{
	char encoded[TEXT_SIZE];
	char canonical[TEXT_SIZE + 64];
	uint8 hash[crypto_hash_sha256_BYTES];
	int length;

	if (key->algorithm == SECRETS_HS256)
	{
		plinth_bytes_to_base64url(key->secret, key->secret_size, encoded);
		length = snprintf(canonical, sizeof(canonical),
						  "{\"k\":\"%s\",\"kty\":\"oct\"}", encoded);
	}
	else
	{
		plinth_bytes_to_base64url(key->public_key, sizeof(key->public_key),
								  encoded);
		length = snprintf(canonical, sizeof(canonical),
						  "{\"crv\":\"Ed25519\",\"kty\":\"OKP\",\"x\":\"%s\"}",
						  encoded);
	}
	crypto_hash_sha256(hash, (const unsigned char *) canonical, length);
	plinth_bytes_to_base64url(hash, sizeof(hash), key->kid);
	plinth_bytes_zero(encoded, sizeof(encoded));
	plinth_bytes_zero(canonical, sizeof(canonical));
}

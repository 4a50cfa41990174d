/*-------------------------------------------------------------------------
 *
 * secrets_text.c
 *		The keyring as the text of its file.  Pure.
 *
 * One key a line, seven or eight fields with a space between them:
 *
 *		key_id kid purpose algorithm state created_at key [changed_at]
 *
 * changed_at says since when the key has its state, if it was made in another.
 * * key is base64url: the bytes of a symmetric key; for Ed25519 the seed and
 * the public key (64 bytes), or the public key alone (32).  Lines that are
 * empty or start with # are comments.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "secrets/secrets_internal.h"

#include <sodium.h>
#include <time.h>

#include "base/bytes.h"

#define MIN_FIELDS 7
#define FIELDS 8

const char *const plinth_secrets_purposes[SECRETS_PURPOSES] = {
	[SECRETS_TOKEN] = "token", [SECRETS_SEAL] = "seal",
	[SECRETS_AUDIT] = "audit", [SECRETS_CERTIFICATE] = "certificate",
	[SECRETS_URL] = "url",
};

const char *const plinth_secrets_algorithms[SECRETS_ALGORITHMS] = {
	[SECRETS_HS256] = "HS256",
	[SECRETS_ED25519] = "Ed25519",
	[SECRETS_XCHACHA20] = "XChaCha20-Poly1305",
	[SECRETS_HMAC] = "HMAC-SHA-256",
};

const char *const plinth_secrets_states[SECRETS_STATES] = {
	[SECRETS_ACTIVE] = "active",
	[SECRETS_VERIFY] = "verify",
	[SECRETS_RETIRED] = "retired",
	[SECRETS_REVOKED] = "revoked",
};

static const char file_head[] =
	"# plinth keyring: one key a line, readable by the server alone\n"
	"# key_id kid purpose algorithm state created_at key [changed_at]\n";

static bool parse_line(const char *line, size_t length, SecretsKey *key);
static bool parse_id(const char *field, size_t length, int16 *key_id);
static bool parse_kid(const char *field, size_t length, char *kid);
static int parse_name(const char *field, size_t length,
					  const char *const *names, int count);
static bool parse_time(const char *field, size_t length, int64 *seconds);
static bool parse_key(const char *field, size_t length, SecretsKey *key);
static void format_time(int64 seconds, char *text);
static bool is_unique(const SecretsRing *ring, const SecretsKey *key);

int
plinth_secrets_count_lines(const char *text, size_t length)
{
	int lines = 1;

	for (size_t i = 0; i < length; i++)
		if (text[i] == '\n')
			lines++;

	return lines;
}

int
plinth_secrets_parse(const char *text, size_t length, SecretsRing *ring)
{
	const char *end = text + length;
	int line = 0;

	ring->count = 0;
	while (text < end)
	{
		const char *stop = memchr(text, '\n', end - text);
		size_t size;

		if (stop == NULL)
			stop = end;
		size = stop - text;

		line++;
		if (size > 0 && text[0] != '#')
		{
			SecretsKey *key = &ring->keys[ring->count];

			if (ring->count == SECRETS_MAX_KEYS ||
				!parse_line(text, size, key) || !is_unique(ring, key))
				return line;
			ring->count++;
		}
		text += Min(size + 1, (size_t) (end - text));
	}

	return 0;
}

size_t
plinth_secrets_format(const SecretsRing *ring, char *text)
{
	char *out = text;

	memcpy(out, file_head, sizeof(file_head) - 1);
	out += sizeof(file_head) - 1;

	for (int i = 0; i < ring->count; i++)
	{
		const SecretsKey *key = &ring->keys[i];
		char created_at[SECRETS_TIME_SIZE];

		format_time(key->created_at, created_at);
		out += sprintf(out, "%d %s %s %s %s %s ", key->key_id, key->kid,
					   plinth_secrets_purposes[key->purpose],
					   plinth_secrets_algorithms[key->algorithm],
					   plinth_secrets_states[key->state], created_at);
		if (key->secret_size > 0)
			out += plinth_bytes_to_base64url(key->secret, key->secret_size, out);
		else
			out += plinth_bytes_to_base64url(key->public_key,
											 sizeof(key->public_key), out);
		if (key->changed_at != 0)
		{
			char changed_at[SECRETS_TIME_SIZE];

			format_time(key->changed_at, changed_at);
			out += sprintf(out, " %s", changed_at);
		}
		*out++ = '\n';
	}

	return out - text;
}

bool
plinth_secrets_suits(SecretsPurpose purpose, SecretsAlgorithm algorithm)
{
	switch (purpose)
	{
		case SECRETS_TOKEN:
			return algorithm == SECRETS_HS256 || algorithm == SECRETS_ED25519;
		case SECRETS_SEAL:
			return algorithm == SECRETS_XCHACHA20;
		case SECRETS_AUDIT:
		case SECRETS_CERTIFICATE:
			return algorithm == SECRETS_ED25519;
		case SECRETS_URL:
			return algorithm == SECRETS_HMAC;
	}

	return false;
}

static bool
parse_line(const char *line, size_t length, SecretsKey *key)
{
	const char *field[FIELDS];
	size_t size[FIELDS];
	const char *end = line + length;
	int fields = 0;
	int purpose;
	int algorithm;
	int state;

	/* the last field has no space behind it, the others have one */
	for (const char *stop = line; stop != NULL; line = stop + 1)
	{
		if (fields == FIELDS)
			return false;
		stop = memchr(line, ' ', end - line);
		field[fields] = line;
		size[fields++] = (stop != NULL ? stop : end) - line;
		if (stop == NULL)
			break;
	}
	if (fields < MIN_FIELDS)
		return false;

	memset(key, 0, sizeof(*key));
	purpose =
		parse_name(field[2], size[2], plinth_secrets_purposes, SECRETS_PURPOSES);
	algorithm = parse_name(field[3], size[3], plinth_secrets_algorithms,
						   SECRETS_ALGORITHMS);
	state = parse_name(field[4], size[4], plinth_secrets_states, SECRETS_STATES);
	if (purpose < 0 || algorithm < 0 || state < 0)
		return false;
	key->purpose = purpose;
	key->algorithm = algorithm;
	key->state = state;

	return plinth_secrets_suits(key->purpose, key->algorithm) &&
		   parse_id(field[0], size[0], &key->key_id) &&
		   parse_kid(field[1], size[1], key->kid) &&
		   parse_time(field[5], size[5], &key->created_at) &&
		   (fields < FIELDS || parse_time(field[7], size[7], &key->changed_at)) &&
		   parse_key(field[6], size[6], key);
}

/*
 * Read a number of 1 to 32767.
 */
static bool
parse_id(const char *field, size_t length, int16 *key_id)
{
	int value = 0;

	if (length < 1 || length > 5)
		return false;
	for (size_t i = 0; i < length; i++)
	{
		if (field[i] < '0' || field[i] > '9')
			return false;
		value = value * 10 + (field[i] - '0');
	}
	*key_id = (int16) value;

	return value >= 1 && value <= PG_INT16_MAX;
}

static bool
parse_kid(const char *field, size_t length, char *kid)
{
	if (length < 1 || length >= SECRETS_KID_SIZE)
		return false;
	for (size_t i = 0; i < length; i++)
		if (field[i] <= ' ' || field[i] > '~')
			return false;
	memcpy(kid, field, length);
	kid[length] = '\0';

	return true;
}

/*
 * Place of a name in a list, or -1.
 */
static int
parse_name(const char *field, size_t length, const char *const *names, int count)
{
	for (int i = 0; i < count; i++)
		if (strlen(names[i]) == length && memcmp(names[i], field, length) == 0)
			return i;

	return -1;
}

/*
 * Read a time in the one spelling that format_time() writes.
 */
static bool
parse_time(const char *field, size_t length, int64 *seconds)
{
	char text[SECRETS_TIME_SIZE];
	char again[SECRETS_TIME_SIZE];
	struct tm t = {0};

	/* a zero byte would end the comparison before the field ends */
	if (length != sizeof(text) - 1 || memchr(field, '\0', length) != NULL)
		return false;
	memcpy(text, field, length);
	text[length] = '\0';

	if (sscanf(text, "%4d-%2d-%2dT%2d:%2d:%2dZ", &t.tm_year, &t.tm_mon,
			   &t.tm_mday, &t.tm_hour, &t.tm_min, &t.tm_sec) != 6)
		return false;
	t.tm_year -= 1900;
	t.tm_mon -= 1;
	*seconds = timegm(&t);
	format_time(*seconds, again);

	return strcmp(text, again) == 0;
}

/*
 * Read the key itself, whose algorithm is known.
 */
static bool
parse_key(const char *field, size_t length, SecretsKey *key)
{
	uint8 seed_public[crypto_sign_PUBLICKEYBYTES];
	uint8 seed_secret[crypto_sign_SECRETKEYBYTES];
	bool ok;

	if (PLINTH_BASE64URL_BYTES(length) > sizeof(key->secret) ||
		!plinth_bytes_from_base64url(field, length, key->secret,
									 &key->secret_size))
		return false;

	switch (key->algorithm)
	{
		case SECRETS_HS256:
			return key->secret_size >= SECRETS_MIN_KEY;

		case SECRETS_XCHACHA20:
		case SECRETS_HMAC:
			return key->secret_size == 32;

		case SECRETS_ED25519:
			break;
	}

	if (key->secret_size == crypto_sign_PUBLICKEYBYTES)
	{
		memcpy(key->public_key, key->secret, key->secret_size);
		key->secret_size = 0;
		/* what cannot sign cannot be the key that signs */
		return key->state != SECRETS_ACTIVE &&
			   crypto_core_ed25519_is_valid_point(key->public_key);
	}

	/* the two halves must belong together, or signatures would give it away */
	if (key->secret_size != crypto_sign_SECRETKEYBYTES)
		return false;
	crypto_sign_seed_keypair(seed_public, seed_secret, key->secret);
	ok = plinth_bytes_equal(seed_secret, key->secret, sizeof(seed_secret));
	plinth_bytes_zero(seed_secret, sizeof(seed_secret));
	memcpy(key->public_key, seed_public, sizeof(seed_public));

	return ok;
}

static void
format_time(int64 seconds, char *text)
{
	time_t clock = (time_t) seconds;
	struct tm t;

	if (gmtime_r(&clock, &t) == NULL ||
		strftime(text, SECRETS_TIME_SIZE, "%Y-%m-%dT%H:%M:%SZ", &t) == 0)
		text[0] = '\0';
}

/*
 * Are the id and the number of a key those of no earlier one?
 */
static bool
is_unique(const SecretsRing *ring, const SecretsKey *key)
{
	for (int i = 0; i < ring->count; i++)
		if (ring->keys[i].key_id == key->key_id ||
			strcmp(ring->keys[i].kid, key->kid) == 0)
			return false;

	return true;
}

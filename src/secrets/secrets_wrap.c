/*-------------------------------------------------------------------------
 *
 * secrets_wrap.c
 *		The keyring under a passphrase, to be kept elsewhere and brought back.
 *
 * What is wrapped is the text of the file.  Layout: version byte, passes and
 * KiB of argon2id (four bytes each, big-endian), salt, nonce, ciphertext, tag;
 * XChaCha20-Poly1305, all that comes before the nonce authenticated with it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "secrets/secrets_internal.h"

#include <sodium.h>

#include "base/bytes.h"
#include "base/compat.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "port/pg_bswap.h"

#define WRAP_VERSION 1

/* What a new wrapping costs who guesses, and what an old one may cost us. */
#define WRAP_PASSES 3
#define WRAP_MEMORY_KB (256 * 1024)
#define WRAP_MAX_PASSES 10
#define WRAP_MAX_MEMORY_KB (1024 * 1024)

/* Places in the layout. */
#define WRAP_PASSES_AT 1
#define WRAP_MEMORY_AT 5
#define WRAP_SALT_AT 9
#define WRAP_NONCE_AT (WRAP_SALT_AT + crypto_pwhash_SALTBYTES)
#define WRAP_TEXT_AT (WRAP_NONCE_AT + SECRETS_BOX_NONCE)
#define WRAP_OVERHEAD (WRAP_TEXT_AT + SECRETS_BOX_TAG)

/* Bytes of a passphrase. */
#define PASSPHRASE_MIN 12
#define PASSPHRASE_MAX 1024

static void check_caller(text *passphrase);
static void wipe_copy(const void *value, Datum argument);
static bool derive(const uint8 *head, const text *passphrase, uint8 *key);
static const char *unwrap(const uint8 *wrapped, size_t length,
						  const text *passphrase, SecretsRing **ring);
static uint32 read_number(const uint8 *bytes);
static void write_number(uint8 *bytes, uint32 number);

/*
 * plinth.keyring_export(passphrase text) -> bytea
 *
 * All keys, wrapped under a passphrase of 12 to 1024 bytes.
 *
 * Errors: 42501 the caller is no superuser; 22023 the passphrase is too short
 * or too long; 53200 there is no memory for argon2id; 55000 no keyring.
 */
PG_FUNCTION_INFO_V1(plinth_sql_secrets_keyring_export);
Datum
plinth_sql_secrets_keyring_export(PG_FUNCTION_ARGS)
{
	text *passphrase = PG_GETARG_TEXT_PP(0);
	uint8 key[crypto_aead_xchacha20poly1305_ietf_KEYBYTES];
	const SecretsRing *ring;
	uint8 *out;
	char *plain;
	size_t length;
	bytea *result;

	check_caller(passphrase);
	ring = plinth_secrets_ring();
	result = palloc0(VARHDRSZ + WRAP_OVERHEAD + SECRETS_TEXT_SIZE(ring->count));
	out = (uint8 *) VARDATA(result);
	out[0] = WRAP_VERSION;
	write_number(out + WRAP_PASSES_AT, WRAP_PASSES);
	write_number(out + WRAP_MEMORY_AT, WRAP_MEMORY_KB);
	randombytes_buf(out + WRAP_SALT_AT, WRAP_TEXT_AT - WRAP_SALT_AT);

	/* between here and the wiping nothing raises an error */
	plain = sodium_malloc(SECRETS_TEXT_SIZE(ring->count));
	if (plain == NULL || !derive(out, passphrase, key))
	{
		if (plain != NULL)
			sodium_free(plain);
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY),
						errmsg("could not allocate memory for the keyring")));
	}
	length = plinth_secrets_format(ring, plain);
	crypto_aead_xchacha20poly1305_ietf_encrypt(
		out + WRAP_TEXT_AT, NULL, (const unsigned char *) plain, length, out,
		WRAP_NONCE_AT, NULL, out + WRAP_NONCE_AT, key);
	plinth_bytes_zero(key, sizeof(key));
	sodium_free(plain);
	wipe_copy(passphrase, PG_GETARG_DATUM(0));

	SET_VARSIZE(result, VARHDRSZ + WRAP_OVERHEAD + length);
	PG_RETURN_BYTEA_P(result);
}

/*
 * plinth.keyring_import(wrapped bytea, passphrase text) -> integer
 *
 * Add the keys of an export that the keyring does not have; returns how many.
 * See plinth_secrets_merge() for what becomes of states and numbers.
 *
 * Errors: 42501 the caller is no superuser; 22023 it is no export, or the
 * passphrase is another; 42710 a kid or a number stands for another key that
 * is in use; 53200 there is no memory for argon2id; 55000 no keyring.
 *
 * Not transactional: ROLLBACK does not take the keys back.
 */
PG_FUNCTION_INFO_V1(plinth_sql_secrets_keyring_import);
Datum
plinth_sql_secrets_keyring_import(PG_FUNCTION_ARGS)
{
	bytea *wrapped = PG_GETARG_BYTEA_PP(0);
	text *passphrase = PG_GETARG_TEXT_PP(1);
	SecretsRing *ring = NULL;
	const char *problem;
	int count = 0;

	check_caller(passphrase);
	problem = unwrap((const uint8 *) VARDATA_ANY(wrapped),
					 VARSIZE_ANY_EXHDR(wrapped), passphrase, &ring);
	wipe_copy(passphrase, PG_GETARG_DATUM(1));
	if (problem != NULL)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("keyring cannot be imported"),
						errdetail_internal("%s", problem)));

	PG_TRY();
	{
		count = plinth_secrets_merge(ring);
	}
	PG_FINALLY();
	{
		sodium_free(ring);
	}
	PG_END_TRY();

	PG_RETURN_INT32(count);
}

static void
check_caller(text *passphrase)
{
	size_t length = VARSIZE_ANY_EXHDR(passphrase);

	if (!superuser())
		ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
						errmsg("permission denied to copy the keyring"),
						errdetail("Only superusers may.")));
	if (length < PASSPHRASE_MIN || length > PASSPHRASE_MAX)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("invalid passphrase for the keyring"),
						errdetail("It must have %d to %d bytes.",
								  PASSPHRASE_MIN, PASSPHRASE_MAX)));
}

/*
 * Wipe what is not the caller's own memory.
 */
static void
wipe_copy(const void *value, Datum argument)
{
	if (value != DatumGetPointer(argument))
		plinth_bytes_zero(unconstify(void *, value), VARSIZE_ANY(value));
}

/*
 * The key of a wrapping from its head.  False when there is no memory for it,
 * or the head asks for more than we give.
 */
static bool
derive(const uint8 *head, const text *passphrase, uint8 *key)
{
	uint32 passes = read_number(head + WRAP_PASSES_AT);
	uint32 memory_kb = read_number(head + WRAP_MEMORY_AT);

	return crypto_pwhash(key, crypto_aead_xchacha20poly1305_ietf_KEYBYTES,
						 VARDATA_ANY(passphrase), VARSIZE_ANY_EXHDR(passphrase),
						 head + WRAP_SALT_AT, passes, (size_t) memory_kb * 1024,
						 crypto_pwhash_ALG_ARGON2ID13) == 0;
}

/*
 * Read an export into locked memory.  Returns NULL, or what is wrong with it.
 */
static const char *
unwrap(const uint8 *wrapped, size_t length, const text *passphrase,
	   SecretsRing **ring)
{
	uint8 key[crypto_aead_xchacha20poly1305_ietf_KEYBYTES];
	size_t plain_size = length - WRAP_OVERHEAD;
	const char *problem = NULL;
	char *plain;

	if (length <= WRAP_OVERHEAD || plain_size > SECRETS_MAX_FILE ||
		wrapped[0] != WRAP_VERSION)
		return "It is no export of a keyring.";
	if (read_number(wrapped + WRAP_PASSES_AT) < crypto_pwhash_OPSLIMIT_MIN ||
		read_number(wrapped + WRAP_PASSES_AT) > WRAP_MAX_PASSES ||
		read_number(wrapped + WRAP_MEMORY_AT) < crypto_pwhash_MEMLIMIT_MIN / 1024 ||
		read_number(wrapped + WRAP_MEMORY_AT) > WRAP_MAX_MEMORY_KB)
		return "Its cost of argon2id is out of range.";

	plain = sodium_malloc(plain_size);
	if (plain == NULL || !derive(wrapped, passphrase, key))
	{
		if (plain != NULL)
			sodium_free(plain);
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY),
						errmsg("could not allocate memory for the keyring")));
	}
	if (crypto_aead_xchacha20poly1305_ietf_decrypt(
			(unsigned char *) plain, NULL, NULL, wrapped + WRAP_TEXT_AT,
			length - WRAP_TEXT_AT, wrapped, WRAP_NONCE_AT,
			wrapped + WRAP_NONCE_AT, key) != 0)
		problem = "The passphrase is another, or the bytes were changed.";
	else if ((*ring = plinth_secrets_alloc(
				  plinth_secrets_count_lines(plain, plain_size))) == NULL)
		problem = "There is no memory for the keys.";
	else if (plinth_secrets_parse(plain, plain_size, *ring) != 0)
	{
		problem = "It holds no keyring.";
		sodium_free(*ring);
		*ring = NULL;
	}
	plinth_bytes_zero(key, sizeof(key));
	sodium_free(plain);

	return problem;
}

static uint32
read_number(const uint8 *bytes)
{
	uint32 number;

	memcpy(&number, bytes, sizeof(number));

	return pg_ntoh32(number);
}

static void
write_number(uint8 *bytes, uint32 number)
{
	number = pg_hton32(number);
	memcpy(bytes, &number, sizeof(number));
}

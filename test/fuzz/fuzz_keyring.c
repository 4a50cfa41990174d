/*-------------------------------------------------------------------------
 *
 * fuzz_keyring.c
 *		Fuzz target: the keyring as it is exported.
 *
 * The first byte of an input says what the rest is:
 *
 *		w	an export as somebody brings it: nobody has its key, so it is none
 *		t	the text of a keyring, wrapped under a key that is known: it is
 *			read when it is a keyring, and not with one bit changed
 *
 * The room's file is built into the target, with stand-ins for what it takes
 * from the server.  argon2id is left out: it would take all the time.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <sodium.h>

#include "fuzz_keys.h"

static int fuzz_pwhash(unsigned char *out, unsigned long long length,
					   const char *password, unsigned long long password_size,
					   const unsigned char *salt, unsigned long long passes,
					   size_t memory, int algorithm);

#define crypto_pwhash fuzz_pwhash
#include "../../src/secrets/secrets_wrap.c"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
static void read_export(const uint8 *data, size_t size);
static void wrap_text(const uint8 *data, size_t size);
static bool is_keyring(const uint8 *wrapped, size_t size);

/* Of the key that is known; what strangers send has another. */
static uint8 fuzz_key_byte;

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	FUZZ_CHECK(sodium_init() >= 0);
	if (size < 1)
		return 0;
	if (data[0] == 'w')
		read_export(data + 1, size - 1);
	else if (data[0] == 't')
		wrap_text(data + 1, size - 1);

	return 0;
}

static void
read_export(const uint8 *data, size_t size)
{
	uint8 *wrapped = fuzz_copy(data, size);

	fuzz_key_byte = 2;
	FUZZ_CHECK(!is_keyring(wrapped, size));
	free(wrapped);
}

static void
wrap_text(const uint8 *data, size_t size)
{
	uint8 key[crypto_aead_xchacha20poly1305_ietf_KEYBYTES];
	size_t wrapped_size = size + WRAP_OVERHEAD;
	uint8 *wrapped = malloc(wrapped_size);
	int lines = plinth_secrets_count_lines((const char *) data, size);
	SecretsRing *ring = calloc(1, SECRETS_RING_SIZE(lines));
	bool good;

	FUZZ_CHECK(wrapped != NULL && ring != NULL);
	good = size > 0 && plinth_secrets_parse((const char *) data, size, ring) == 0;
	free(ring);

	memset(wrapped, 0, WRAP_TEXT_AT);
	wrapped[0] = WRAP_VERSION;
	write_number(wrapped + WRAP_PASSES_AT, WRAP_PASSES);
	write_number(wrapped + WRAP_MEMORY_AT, WRAP_MEMORY_KB);
	fuzz_key_byte = 1;
	memset(key, fuzz_key_byte, sizeof(key));
	crypto_aead_xchacha20poly1305_ietf_encrypt(
		wrapped + WRAP_TEXT_AT, NULL, data, size, wrapped, WRAP_NONCE_AT, NULL,
		wrapped + WRAP_NONCE_AT, key);
	FUZZ_CHECK(is_keyring(wrapped, wrapped_size) == good);
	FUZZ_CHECK(!is_keyring(wrapped, wrapped_size - 1));

	/* one bit, in a place that the input decides */
	wrapped[size * 7 % wrapped_size] ^= 1 << (size % 8);
	FUZZ_CHECK(!is_keyring(wrapped, wrapped_size));
	free(wrapped);
}

static bool
is_keyring(const uint8 *wrapped, size_t size)
{
	union
	{
		text text;
		char bytes[VARHDRSZ + PASSPHRASE_MIN];
	} passphrase = {0};
	SecretsRing *ring = NULL;
	const char *problem;

	SET_VARSIZE(&passphrase.text, sizeof(passphrase.bytes));
	problem = unwrap(wrapped, size, &passphrase.text, &ring);
	FUZZ_CHECK((problem == NULL) == (ring != NULL));
	if (ring != NULL)
		sodium_free(ring);

	return problem == NULL;
}

static int
fuzz_pwhash(unsigned char *out, unsigned long long length, const char *password,
			unsigned long long password_size, const unsigned char *salt,
			unsigned long long passes, size_t memory, int algorithm)
{
	FUZZ_CHECK(passes >= crypto_pwhash_OPSLIMIT_MIN && passes <= WRAP_MAX_PASSES);
	FUZZ_CHECK(memory >= crypto_pwhash_MEMLIMIT_MIN &&
			   memory <= (size_t) WRAP_MAX_MEMORY_KB * 1024);
	memset(out, fuzz_key_byte, length);

	return 0;
}

/* What the file takes from the server and from its room. */
sigjmp_buf *PG_exception_stack = NULL;
ErrorContextCallback *error_context_stack = NULL;

SecretsRing *
plinth_secrets_alloc(int count)
{
	SecretsRing *ring = sodium_malloc(SECRETS_RING_SIZE(count));

	if (ring != NULL)
		memset(ring, 0, SECRETS_RING_SIZE(count));

	return ring;
}

const SecretsRing *
plinth_secrets_ring(void)
{
	return fuzz_ring();
}

int
plinth_secrets_merge(const SecretsRing *added)
{
	return added->count;
}

bool
superuser(void)
{
	return true;
}

struct varlena *
pg_detoast_datum_packed(struct varlena *datum)
{
	return datum;
}

void
pg_re_throw(void)
{
	abort();
}

bool
errstart(int elevel, const char *domain)
{
	abort();
}

bool
errstart_cold(int elevel, const char *domain)
{
	abort();
}

void
errfinish(const char *filename, int lineno, const char *funcname)
{
	abort();
}

int
errcode(int sqlerrcode)
{
	abort();
}

int
errmsg(const char *fmt, ...)
{
	abort();
}

int
errdetail(const char *fmt, ...)
{
	abort();
}

int
errdetail_internal(const char *fmt, ...)
{
	abort();
}

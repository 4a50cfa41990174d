/*-------------------------------------------------------------------------
 *
 * fuzz_sealed.c
 *		Fuzz target: sealed values, and the keyring's text.
 *
 * The first byte of an input says what the rest is:
 *
 *		o	a sealed value, to be opened
 *		s	a byte for the length of a context, the context, a plaintext: sealed,
 *			it opens in its place and nowhere else, and no bit of it may change
 *		k	the text of a keyring: one that is good is written as it was read
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fuzz_keys.h"

#include "base/bytes.h"

/* Places of the seal keys in the ring. */
#define ACTIVE_SEAL 2
#define RETIRED_SEAL 3

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
static void open_value(const uint8 *data, size_t size);
static void seal_value(const uint8 *data, size_t size);
static void read_keyring(const uint8 *data, size_t size);
static bool opens(int place, const uint8 *sealed, size_t size,
				  SecretsContext context, const uint8 *plain);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 1)
		return 0;
	if (data[0] == 'o')
		open_value(data + 1, size - 1);
	else if (data[0] == 's')
		seal_value(data + 1, size - 1);
	else if (data[0] == 'k')
		read_keyring(data + 1, size - 1);

	return 0;
}

/*
 * Nobody has the keys, so nothing that comes from outside opens.
 */
static void
open_value(const uint8 *data, size_t size)
{
	SecretsContext context = {.text = "t.c:1", .length = 5};
	uint8 *sealed = fuzz_copy(data, size);
	int16 key_id = plinth_secrets_box_key(sealed, size);

	FUZZ_CHECK(key_id >= 0);
	for (int i = 0; i < FUZZ_KEYS; i++)
		FUZZ_CHECK(!opens(i, sealed, size, context, NULL));
	free(sealed);
}

static void
seal_value(const uint8 *data, size_t size)
{
	SecretsContext context;
	SecretsContext shorter;
	const uint8 *plain;
	size_t plain_size;
	size_t sealed_size;
	uint8 *sealed;

	if (size < 1 || data[0] < 1 || data[0] > size - 1)
		return;
	context.text = (const char *) data + 1;
	context.length = data[0];
	shorter = context;
	shorter.length--;
	plain = data + 1 + data[0];
	plain_size = size - 1 - data[0];

	sealed_size = plain_size + SECRETS_BOX_OVERHEAD;
	sealed = malloc(sealed_size);
	FUZZ_CHECK(sealed != NULL);
	FUZZ_CHECK(!plinth_secrets_box_seal(&fuzz_ring()->keys[RETIRED_SEAL], plain,
										plain_size, context, sealed));
	FUZZ_CHECK(plinth_secrets_box_seal(&fuzz_ring()->keys[ACTIVE_SEAL], plain,
									   plain_size, context, sealed));
	FUZZ_CHECK(plinth_secrets_box_key(sealed, sealed_size) == ACTIVE_SEAL + 1);
	FUZZ_CHECK(opens(ACTIVE_SEAL, sealed, sealed_size, context, plain));
	FUZZ_CHECK(!opens(RETIRED_SEAL, sealed, sealed_size, context, NULL));
	FUZZ_CHECK(!opens(ACTIVE_SEAL, sealed, sealed_size, shorter, NULL));
	FUZZ_CHECK(!opens(ACTIVE_SEAL, sealed, sealed_size - 1, context, NULL));

	/* one bit, in a place that the input decides */
	sealed[size * 7 % sealed_size] ^= 1 << (size % 8);
	FUZZ_CHECK(!opens(ACTIVE_SEAL, sealed, sealed_size, context, NULL));
	free(sealed);
}

static void
read_keyring(const uint8 *data, size_t size)
{
	char *text = fuzz_copy(data, size);
	int lines = plinth_secrets_count_lines(text, size);
	SecretsRing *ring = calloc(1, SECRETS_RING_SIZE(lines));

	FUZZ_CHECK(ring != NULL);
	if (plinth_secrets_parse(text, size, ring) == 0)
	{
		char *written = malloc(SECRETS_TEXT_SIZE(ring->count));
		char *again = malloc(SECRETS_TEXT_SIZE(ring->count));
		SecretsRing *copy = calloc(1, SECRETS_RING_SIZE(ring->count + 3));
		size_t length;

		FUZZ_CHECK(written != NULL && again != NULL && copy != NULL);
		length = plinth_secrets_format(ring, written);
		FUZZ_CHECK(plinth_secrets_parse(written, length, copy) == 0);
		FUZZ_CHECK(copy->count == ring->count);
		FUZZ_CHECK(plinth_secrets_format(copy, again) == length);
		FUZZ_CHECK(memcmp(written, again, length) == 0);
		free(copy);
		free(again);
		free(written);
	}
	free(ring);
	free(text);
}

/*
 * Does a value open with a key of the ring, to this plaintext if there is one?
 */
static bool
opens(int place, const uint8 *sealed, size_t size, SecretsContext context,
	  const uint8 *plain)
{
	size_t length = size < SECRETS_BOX_OVERHEAD ? 0 : size - SECRETS_BOX_OVERHEAD;
	uint8 *opened = malloc(Max(length, 1));
	bool result;

	FUZZ_CHECK(opened != NULL);
	result = plinth_secrets_box_open(&fuzz_ring()->keys[place], sealed, size,
									 context, opened);
	if (result && plain != NULL)
		FUZZ_CHECK(memcmp(opened, plain, length) == 0);
	free(opened);

	return result;
}

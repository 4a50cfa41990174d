/*-------------------------------------------------------------------------
 *
 * fuzz_bytes.c
 *		Fuzz target: base64url and hexadecimal digits.
 *
 * Whatever is read is written as it was, so every byte string has one
 * spelling; and the bytes of an input come back from both spellings.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fuzz_keys.h"

#include "base/bytes.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
static void read_base64url(const char *text, size_t length);
static void read_hex(const char *text, size_t length);
static void write_both(const uint8 *bytes, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = fuzz_copy(data, size);

	read_base64url(text, size);
	read_hex(text, size);
	write_both((const uint8 *) text, size);
	free(text);

	return 0;
}

static void
read_base64url(const char *text, size_t length)
{
	size_t room = PLINTH_BASE64URL_BYTES(length);
	uint8 *bytes = malloc(Max(room, 1));
	char *again = malloc(length + 1);
	size_t size = SIZE_MAX;

	FUZZ_CHECK(bytes != NULL && again != NULL);
	if (plinth_bytes_from_base64url(text, length, bytes, &size))
	{
		FUZZ_CHECK(size == room);
		FUZZ_CHECK(plinth_bytes_to_base64url(bytes, size, again) == length);
		FUZZ_CHECK(memcmp(text, again, length) == 0);
	}
	else
		FUZZ_CHECK(size == SIZE_MAX);
	free(again);
	free(bytes);
}

static void
read_hex(const char *text, size_t length)
{
	uint8 *bytes = malloc(Max(length / 2, 1));
	char *again = malloc(length + 1);

	FUZZ_CHECK(bytes != NULL && again != NULL);
	if (plinth_bytes_from_hex(text, length, bytes))
	{
		FUZZ_CHECK(length % 2 == 0);
		plinth_bytes_to_hex(bytes, length / 2, again);
		for (size_t i = 0; i < length; i++)
			FUZZ_CHECK(again[i] == pg_ascii_tolower((unsigned char) text[i]));
	}
	free(again);
	free(bytes);
}

static void
write_both(const uint8 *bytes, size_t size)
{
	char *text =
		malloc(Max(PLINTH_BASE64URL_SIZE(size), PLINTH_HEX_SIZE(size)) + 1);
	uint8 *again = malloc(Max(size, 1));
	size_t length;
	size_t again_size;

	FUZZ_CHECK(text != NULL && again != NULL);
	length = plinth_bytes_to_base64url(bytes, size, text);
	FUZZ_CHECK(length == PLINTH_BASE64URL_SIZE(size) && text[length] == '\0');
	FUZZ_CHECK(plinth_bytes_from_base64url(text, length, again, &again_size));
	FUZZ_CHECK(again_size == size && memcmp(bytes, again, size) == 0);

	plinth_bytes_to_hex(bytes, size, text);
	FUZZ_CHECK(strlen(text) == PLINTH_HEX_SIZE(size));
	FUZZ_CHECK(plinth_bytes_from_hex(text, PLINTH_HEX_SIZE(size), again));
	FUZZ_CHECK(memcmp(bytes, again, size) == 0);
	free(again);
	free(text);
}

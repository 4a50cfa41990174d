/*-------------------------------------------------------------------------
 *
 * bytes.c
 *		Bytes as text and back, compared and wiped without a trace.
 *
 * The look-ups by alphabet are arithmetic, not tables indexed by a secret.
 *
 *-------------------------------------------------------------------------
 */
#include "base/bytes.h"

#include <sodium.h>

static char base64url_digit(unsigned value);
static int base64url_value(unsigned char digit);
static int hex_value(unsigned char digit);

size_t
plinth_bytes_to_base64url(const void *bytes, size_t length, char *text)
{
	const unsigned char *in = bytes;
	char *out = text;
	uint32_t held = 0;
	unsigned bits = 0;

	for (size_t i = 0; i < length; i++)
	{
		held = (held << 8) | in[i];
		bits += 8;
		while (bits >= 6)
		{
			bits -= 6;
			*out++ = base64url_digit((held >> bits) & 63);
		}
	}
	if (bits > 0)
		*out++ = base64url_digit((held << (6 - bits)) & 63);
	*out = '\0';

	return out - text;
}

bool
plinth_bytes_from_base64url(const char *text, size_t length, void *bytes,
							size_t *size)
{
	unsigned char *out = bytes;
	uint32_t held = 0;
	unsigned bits = 0;

	/* one digit alone is less than a byte */
	if (length % 4 == 1)
		return false;

	for (size_t i = 0; i < length; i++)
	{
		int value = base64url_value((unsigned char) text[i]);

		if (value < 0)
			return false;
		held = (held << 6) | (uint32_t) value;
		bits += 6;
		if (bits >= 8)
		{
			bits -= 8;
			*out++ = (held >> bits) & 0xFF;
		}
	}
	if ((held & ((1U << bits) - 1)) != 0)
		return false;

	*size = out - (unsigned char *) bytes;
	return true;
}

void
plinth_bytes_to_hex(const void *bytes, size_t length, char *text)
{
	sodium_bin2hex(text, PLINTH_HEX_SIZE(length) + 1, bytes, length);
}

bool
plinth_bytes_from_hex(const char *text, size_t length, void *bytes)
{
	unsigned char *out = bytes;

	if (length % 2 != 0)
		return false;

	for (size_t i = 0; i < length; i += 2)
	{
		int high = hex_value((unsigned char) text[i]);
		int low = hex_value((unsigned char) text[i + 1]);

		if (high < 0 || low < 0)
			return false;
		*out++ = (unsigned char) (high << 4 | low);
	}

	return true;
}

bool
plinth_bytes_equal(const void *a, const void *b, size_t length)
{
	return sodium_memcmp(a, b, length) == 0;
}

void
plinth_bytes_zero(void *bytes, size_t length)
{
	sodium_memzero(bytes, length);
}

/*
 * Digit for a value of 0 to 63.
 */
static char
base64url_digit(unsigned value)
{
	if (value < 26)
		return (char) ('A' + value);
	if (value < 52)
		return (char) ('a' + value - 26);
	if (value < 62)
		return (char) ('0' + value - 52);
	return value == 62 ? '-' : '_';
}

/*
 * Value of a digit, or -1 when it is none.
 */
static int
base64url_value(unsigned char digit)
{
	if (digit >= 'A' && digit <= 'Z')
		return digit - 'A';
	if (digit >= 'a' && digit <= 'z')
		return digit - 'a' + 26;
	if (digit >= '0' && digit <= '9')
		return digit - '0' + 52;
	if (digit == '-')
		return 62;
	if (digit == '_')
		return 63;
	return -1;
}

/*
 * Value of a hexadecimal digit, or -1 when it is none.
 */
static int
hex_value(unsigned char digit)
{
	if (digit >= '0' && digit <= '9')
		return digit - '0';
	if (digit >= 'a' && digit <= 'f')
		return digit - 'a' + 10;
	if (digit >= 'A' && digit <= 'F')
		return digit - 'A' + 10;
	return -1;
}

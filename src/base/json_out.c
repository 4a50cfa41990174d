/*-------------------------------------------------------------------------
 *
 * json_out.c
 *		JSON, appended to a string that grows.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "base/json_out.h"

#include "base/bytes.h"
#include "pgtime.h"
#include "utils/timestamp.h"

/* The same byte eight times, and what finds a byte that is zero. */
#define EIGHT(byte) (UINT64CONST(0x0101010101010101) * (byte))
#define HAS_ZERO(word) (((word) -EIGHT(0x01)) & ~(word) &EIGHT(0x80))

static size_t plain_length(const char *text, size_t length);
static void write_escape(StringInfo out, unsigned char c);

void
plinth_json_string(StringInfo out, const char *text, size_t length)
{
	const char *const end = text + length;
	size_t plain = plain_length(text, length);

	/* most strings need no escape */
	enlargeStringInfo(out, length + 2);
	out->data[out->len++] = '"';
	memcpy(out->data + out->len, text, plain);
	out->len += plain;

	for (text += plain; text < end; text += plain)
	{
		write_escape(out, (unsigned char) *text++);
		plain = plain_length(text, end - text);
		appendBinaryStringInfo(out, text, plain);
	}
	appendStringInfoCharMacro(out, '"');
}

void
plinth_json_comma(StringInfo out)
{
	char last = out->len > 0 ? out->data[out->len - 1] : '{';

	if (last != '{' && last != '[' && last != ':')
		appendStringInfoCharMacro(out, ',');
}

void
plinth_json_name(StringInfo out, const char *name)
{
	plinth_json_comma(out);
	appendStringInfoCharMacro(out, '"');
	appendStringInfoString(out, name);
	appendBinaryStringInfo(out, "\":", 2);
}

void
plinth_json_time(StringInfo out, TimestampTz time)
{
	struct pg_tm tm;
	fsec_t fraction;

	/* a null zone is UTC */
	if (TIMESTAMP_NOT_FINITE(time) ||
		timestamp2tm(time, NULL, &tm, &fraction, NULL, NULL) != 0)
	{
		appendBinaryStringInfo(out, "null", 4);
		return;
	}
	appendStringInfo(out, "\"%04d-%02d-%02dT%02d:%02d:%02d.%03dZ\"", tm.tm_year,
					 tm.tm_mon, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec,
					 (int) (fraction / 1000));
}

void
plinth_json_uuid(StringInfo out, const pg_uuid_t *uuid)
{
	char hex[PLINTH_HEX_SIZE(UUID_LEN) + 1];

	if (uuid == NULL)
	{
		appendBinaryStringInfo(out, "null", 4);
		return;
	}
	plinth_bytes_to_hex(uuid->data, UUID_LEN, hex);
	appendStringInfo(out, "\"%.8s-%.4s-%.4s-%.4s-%.12s\"", hex, hex + 8,
					 hex + 12, hex + 16, hex + 20);
}

/*
 * How many bytes from here need no escape?  Looks at eight at a time.
 */
static size_t
plain_length(const char *text, size_t length)
{
	size_t i = 0;

	for (; i + sizeof(uint64) <= length; i += sizeof(uint64))
	{
		uint64 word;

		memcpy(&word, text + i, sizeof(word));
		if (((word - EIGHT(' ')) & ~word & EIGHT(0x80)) != 0 ||
			HAS_ZERO(word ^ EIGHT('"')) != 0 || HAS_ZERO(word ^ EIGHT('\\')) != 0)
			break;
	}
	for (; i < length; i++)
	{
		unsigned char c = (unsigned char) text[i];

		if (c < ' ' || c == '"' || c == '\\')
			break;
	}
	return i;
}

static void
write_escape(StringInfo out, unsigned char c)
{
	switch (c)
	{
		case '"':
		case '\\':
			appendStringInfoCharMacro(out, '\\');
			appendStringInfoCharMacro(out, c);
			break;
		case '\n':
			appendBinaryStringInfo(out, "\\n", 2);
			break;
		case '\r':
			appendBinaryStringInfo(out, "\\r", 2);
			break;
		case '\t':
			appendBinaryStringInfo(out, "\\t", 2);
			break;
		default:
			appendStringInfo(out, "\\u%04x", c);
			break;
	}
}

/*-------------------------------------------------------------------------
 *
 * decoder_scalar.c
 *		Numbers, dates and bytes as the server writes them, only faster.
 *
 * The text is that of the output functions, and for dates and times that of
 * to_jsonb(), under the settings of plinth_text_form_session(): ISO, UTC,
 * hexadecimal.  Written in place, without a copy and without the settings.
 *
 * Pure: values in, text out.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "decoder/decoder_type.h"

#include "datatype/timestamp.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/datetime.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "base/compat.h"

/*
 * The stored form of a numeric, which pg_upgrade keeps as it is: a header of
 * 16 bits, of which the highest tell the kind; for the long kind a weight
 * follows; then digits to the base 10000, the first worth 10000^weight.
 */
#define NUMERIC_KIND 0xC000
#define NUMERIC_KIND_NEGATIVE 0x4000
#define NUMERIC_KIND_SHORT 0x8000
#define NUMERIC_KIND_SPECIAL 0xC000
#define NUMERIC_SPECIAL 0xF000
#define NUMERIC_SPECIAL_NAN 0xC000
#define NUMERIC_SPECIAL_INFINITY 0xD000
#define NUMERIC_SHORT_NEGATIVE 0x2000
#define NUMERIC_SHORT_SCALE 0x1F80
#define NUMERIC_SHORT_SCALE_SHIFT 7
#define NUMERIC_SHORT_WEIGHT 0x003F
#define NUMERIC_SHORT_WEIGHT_NEGATIVE 0x0040
#define NUMERIC_LONG_SCALE 0x3FFF
#define DIGITS_PER_GROUP 4

/* Longest text of a date or time: year, BC, fraction and zone included. */
#define TIME_LENGTH (MAXDATELEN + 1)

static char *write_group(char *to, int group);
static char *write_two(char *to, int value);
static char *write_day(char *to, int julian, bool *before_christ);
static char *write_word(char *to, const char *word);

void
plinth_decoder_write_numeric(StringInfo out, Datum datum)
{
	struct varlena *value = (struct varlena *) PG_DETOAST_DATUM_PACKED(datum);
	const char *bytes = VARDATA_ANY(value);
	int length = VARSIZE_ANY_EXHDR(value);
	uint16 header;
	int16 weight;
	int scale;
	int groups;
	int group = 0;
	bool negative;
	char *to;

	memcpy(&header, bytes, sizeof(header));
	bytes += sizeof(header);
	length -= sizeof(header);

	if ((header & NUMERIC_KIND) == NUMERIC_KIND_SPECIAL)
	{
		appendStringInfoString(
			out, (header & NUMERIC_SPECIAL) == NUMERIC_SPECIAL_NAN ? "NaN"
				 : (header & NUMERIC_SPECIAL) == NUMERIC_SPECIAL_INFINITY
					 ? "Infinity"
					 : "-Infinity");
		return;
	}
	if (header & NUMERIC_KIND_SHORT)
	{
		negative = (header & NUMERIC_SHORT_NEGATIVE) != 0;
		scale = (header & NUMERIC_SHORT_SCALE) >> NUMERIC_SHORT_SCALE_SHIFT;
		weight = header & NUMERIC_SHORT_WEIGHT;
		if (header & NUMERIC_SHORT_WEIGHT_NEGATIVE)
			weight -= NUMERIC_SHORT_WEIGHT + 1;
	}
	else
	{
		negative = (header & NUMERIC_KIND) == NUMERIC_KIND_NEGATIVE;
		scale = header & NUMERIC_LONG_SCALE;
		memcpy(&weight, bytes, sizeof(weight));
		bytes += sizeof(weight);
		length -= sizeof(weight);
	}
	groups = length / (int) sizeof(int16);

	to = plinth_decoder_reserve(out, Max(weight + 1, 1) * DIGITS_PER_GROUP +
										 scale + DIGITS_PER_GROUP + 2);
	if (negative)
		*to++ = '-';

	/* groups that are not stored are zero, before and behind the others */
	if (weight < 0)
		*to++ = '0';
	for (int place = weight; place >= 0; place--)
	{
		int16 digits = 0;
		char *start = to;

		if (group < groups)
			memcpy(&digits, bytes + sizeof(int16) * group, sizeof(int16));
		group++;
		to = write_group(to, digits);
		if (place == weight && digits < 1000)
		{
			int zeros = digits < 10 ? 3 : digits < 100 ? 2 : 1;

			memmove(start, start + zeros, DIGITS_PER_GROUP - zeros);
			to -= zeros;
		}
	}
	if (scale > 0)
	{
		char *start;

		*to++ = '.';
		start = to;
		for (int place = -1; to - start < scale; place--)
		{
			int16 digits = 0;

			if (place <= weight && group < groups)
			{
				memcpy(&digits, bytes + sizeof(int16) * group, sizeof(int16));
				group++;
			}
			to = write_group(to, digits);
		}
		to = start + scale;
	}
	*to = '\0';
	out->len = to - out->data;
}

void
plinth_decoder_write_uuid(StringInfo out, Datum datum)
{
	static const char hex[] = "0123456789abcdef";
	const pg_uuid_t *uuid = DatumGetUUIDP(datum);
	char *to = plinth_decoder_reserve(out, 2 * UUID_LEN + 4);

	for (int i = 0; i < UUID_LEN; i++)
	{
		if (i == 4 || i == 6 || i == 8 || i == 10)
			*to++ = '-';
		*to++ = hex[uuid->data[i] >> 4];
		*to++ = hex[uuid->data[i] & 0x0F];
	}
	*to = '\0';
	out->len = to - out->data;
}

void
plinth_decoder_write_date(StringInfo out, Datum datum)
{
	DateADT date = DatumGetDateADT(datum);
	char *to = plinth_decoder_reserve(out, TIME_LENGTH);
	bool before_christ;

	if (DATE_NOT_FINITE(date))
		to = write_word(to, DATE_IS_NOBEGIN(date) ? EARLY : LATE);
	else
	{
		to = write_day(to, date + POSTGRES_EPOCH_JDATE, &before_christ);
		if (before_christ)
			to = write_word(to, " BC");
	}
	*to = '\0';
	out->len = to - out->data;
}

void
plinth_decoder_write_timestamp(StringInfo out, Datum datum, bool with_zone)
{
	Timestamp time = DatumGetTimestamp(datum);
	char *to = plinth_decoder_reserve(out, TIME_LENGTH);
	Timestamp day;
	bool before_christ;
	int seconds;
	int fraction;

	if (TIMESTAMP_NOT_FINITE(time))
	{
		to = write_word(to, TIMESTAMP_IS_NOBEGIN(time) ? EARLY : LATE);
		*to = '\0';
		out->len = to - out->data;
		return;
	}

	day = time / USECS_PER_DAY;
	time %= USECS_PER_DAY;
	if (time < 0)
	{
		time += USECS_PER_DAY;
		day--;
	}
	seconds = (int) (time / USECS_PER_SEC);
	fraction = (int) (time % USECS_PER_SEC);

	to = write_day(to, (int) day + POSTGRES_EPOCH_JDATE, &before_christ);
	*to++ = 'T';
	to = write_two(to, seconds / SECS_PER_HOUR);
	*to++ = ':';
	to = write_two(to, seconds / SECS_PER_MINUTE % MINS_PER_HOUR);
	*to++ = ':';
	to = write_two(to, seconds % SECS_PER_MINUTE);
	if (fraction != 0)
	{
		*to++ = '.';
		to = write_two(to, fraction / 10000);
		to = write_two(to, fraction / 100 % 100);
		to = write_two(to, fraction % 100);
		while (to[-1] == '0')
			to--;
	}
	if (with_zone)
		to = write_word(to, "+00:00");
	if (before_christ)
		to = write_word(to, " BC");
	*to = '\0';
	out->len = to - out->data;
}

void
plinth_decoder_write_bytea(StringInfo out, Datum datum)
{
	struct varlena *value = (struct varlena *) PG_DETOAST_DATUM_PACKED(datum);
	int length = VARSIZE_ANY_EXHDR(value);
	char *to = plinth_decoder_reserve(out, 2 * length + 2);

	*to++ = '\\';
	*to++ = 'x';
	to += hex_encode(VARDATA_ANY(value), length, to);
	*to = '\0';
	out->len = to - out->data;
}

/*
 * Four digits, leading zeros included.
 */
static char *
write_group(char *to, int group)
{
	to = write_two(to, group / 100);
	return write_two(to, group % 100);
}

static char *
write_two(char *to, int value)
{
	*to++ = (char) ('0' + value / 10);
	*to++ = (char) ('0' + value % 10);
	return to;
}

/*
 * Year, month and day of a Julian day number; the year has four digits or
 * more, and is counted from 1 on both sides.
 */
static char *
write_day(char *to, int julian, bool *before_christ)
{
	int year;
	int month;
	int day;

	j2date(julian, &year, &month, &day);
	*before_christ = year <= 0;
	if (*before_christ)
		year = 1 - year;

	if (year <= 9999)
		to = write_group(to, year);
	else
		to += pg_ltoa(year, to);
	*to++ = '-';
	to = write_two(to, month);
	*to++ = '-';
	return write_two(to, day);
}

static char *
write_word(char *to, const char *word)
{
	size_t length = strlen(word);

	memcpy(to, word, length);
	return to + length;
}

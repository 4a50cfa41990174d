/*-------------------------------------------------------------------------
 *
 * json_out.h
 *		JSON, appended to a string that grows.
 *
 * For text that is written once and read by a parser: nothing is indented,
 * nothing is checked that the caller knows.  Text is in the database's
 * encoding, as jsonb_in() expects it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PLINTH_JSON_OUT_H
#define PLINTH_JSON_OUT_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "lib/stringinfo.h"
#include "utils/uuid.h"

/* A string with its quotes, escaped as RFC 8259 section 7 asks. */
extern void plinth_json_string(StringInfo out, const char *text, size_t length);

/*
 * A name and its colon, with a comma before it unless it is the first in
 * its object.  The name is ours and needs no escape.
 */
extern void plinth_json_name(StringInfo out, const char *name);

/* A comma, unless an object or array has just begun. */
extern void plinth_json_comma(StringInfo out);

/* A time as "2026-01-31T12:00:00.123Z": UTC, milliseconds, cut not rounded. */
extern void plinth_json_time(StringInfo out, TimestampTz time);

/* A uuid as a string; null for NULL. */
extern void plinth_json_uuid(StringInfo out, const pg_uuid_t *uuid);

#endif /* PLINTH_JSON_OUT_H */

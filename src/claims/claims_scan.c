/*-------------------------------------------------------------------------
 *
 * claims_scan.c
 *		A JSON text to the claims that it makes.  Pure.
 *
 * No lock, setting, allocation or error: check hooks of settings run this
 * outside transactions, and a token's claims are read by the same code.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "claims/claims_internal.h"

#include "base/bytes.h"
#include "datatype/timestamp.h"

/* Characters of a uuid in canonical form. */
#define UUID_TEXT_LENGTH 36

static const char *keep_text(const JsonSlice *value, char **room);
static TimestampTz to_timestamp(double seconds);

bool
plinth_claims_scan(const char *json, size_t length, bool ascii, ClaimsBlock *block)
{
	ClaimsIdentity *identity = &block->identity;
	char *room = block->text;
	size_t position = 0;
	JsonSlice object;
	JsonSlice name;
	JsonSlice value;
	double seconds;

	memset(identity, 0, sizeof(*identity));
	identity->expires_at = DT_NOEND;

	if (!plinth_json_check(json, length, ascii, NULL, &object) ||
		object.kind != JSON_OBJECT)
		return false;

	memcpy(room, json, length);
	room[length] = '\0';
	identity->json = room;
	room += length + 1;

	/* Of two members with one name the later counts, as in jsonb. */
	while (plinth_json_next(&object, &position, &name, &value))
	{
		if (plinth_json_is(&name, "sub"))
			identity->has_user = plinth_claims_uuid(&value, &identity->user_id);
		else if (plinth_json_is(&name, "session_id"))
			identity->has_session =
				plinth_claims_uuid(&value, &identity->session_id);
		else if (plinth_json_is(&name, "role"))
			identity->role = keep_text(&value, &room);
		else if (plinth_json_is(&name, "email"))
			identity->email = keep_text(&value, &room);
		else if (plinth_json_is(&name, "aal"))
			identity->aal = keep_text(&value, &room);
		else if (plinth_json_is(&name, "exp"))
		{
			if (!plinth_claims_time(&value, &seconds))
				return false;
			identity->expires_at = to_timestamp(seconds);
		}
		else if (plinth_json_is(&name, "app_metadata"))
		{
			JsonSlice tier;

			identity->tier = NULL;
			if (value.kind == JSON_OBJECT &&
				plinth_json_member(&value, "tier", &tier))
				identity->tier = keep_text(&tier, &room);
		}
	}

	return true;
}

bool
plinth_claims_uuid(const JsonSlice *value, pg_uuid_t *uuid)
{
	/* lengths of the groups of digits */
	static const int groups[] = {8, 4, 4, 4, 12};
	char digits[UUID_LEN * 2];
	const char *at;
	int count = 0;

	/* an escaped spelling is longer, and not the canonical form */
	if (value->kind != JSON_STRING || value->length != UUID_TEXT_LENGTH + 2)
		return false;

	at = value->start + 1;
	for (size_t i = 0; i < lengthof(groups); i++)
	{
		if (i > 0 && *at++ != '-')
			return false;
		memcpy(digits + count, at, groups[i]);
		at += groups[i];
		count += groups[i];
	}

	return plinth_bytes_from_hex(digits, sizeof(digits), uuid->data);
}

bool
plinth_claims_time(const JsonSlice *value, double *seconds)
{
	if (value->kind != JSON_NUMBER)
		return false;
	*seconds = plinth_json_number(value);

	return *seconds >= 0 && *seconds <= CLAIMS_MAX_TIME;
}

/*
 * Unescape a string into the block and return its place there, or NULL when
 * the value is no string.  Each string takes at most its own length in the
 * text, so that all of them fit into a second copy of it.
 */
static const char *
keep_text(const JsonSlice *value, char **room)
{
	const char *text = *room;

	if (value->kind != JSON_STRING)
		return NULL;
	*room += plinth_json_text(value, *room) + 1;

	return text;
}

/*
 * Seconds since 1970, at most CLAIMS_MAX_TIME, to a time of the server.
 */
static TimestampTz
to_timestamp(double seconds)
{
	return (TimestampTz) ((seconds -
						   (double) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) *
							   SECS_PER_DAY) *
						  USECS_PER_SEC);
}

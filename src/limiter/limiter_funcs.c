/*-------------------------------------------------------------------------
 *
 * limiter_funcs.c
 *		The limiter as SQL calls it.
 *
 * Every function that names whose requests it counts checks that the caller
 * may: a service, code of ours, or the one who is counted (C14).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "limiter/limiter_internal.h"

#include "access/htup_details.h"
#include "base/compat.h"
#include "base/names.h"
#include "catalog/pg_type.h"
#include "claims/claims.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

/* A request over the limit (HTTP 429, as PostgREST reads the code). */
#define LIMITER_SQLSTATE MAKE_SQLSTATE('P', 'T', '4', '2', '9')

/* Tiers of plinth.rate_limit_caller(). */
#define TIER_ANONYMOUS "anonymous"
#define TIER_AUTHENTICATED "authenticated"
#define TIER_PREMIUM "premium"

/* Who is counted when a client has neither user nor address. */
#define LOCAL_CLIENT "local"

#define UUID_TEXT_SIZE 37

/* Who asks, as an identifier. */
typedef struct Caller
{
	const char *identifier;
	size_t length;
	char buffer[LIMITER_ADDRESS_SIZE];
} Caller;

static void raise_unless_allowed(const LimiterAnswer *answer);
static void find_caller(Caller *caller);
static const char *caller_tier(void);
static void check_may_count(const char *identifier, size_t length);
static void format_uuid(const pg_uuid_t *uuid, char *text);
static const LimiterTier *require_tier(const char *name, size_t length);
static void take_tier(const LimiterTier *tier, LimiterKind kind, const char *name,
					  size_t name_length, const char *identifier,
					  size_t identifier_length, LimiterAnswer *answer);
static Datum answer_row(const LimiterAnswer *answer);

/*
 * plinth.check_rate_limit(identifier text, tier text)
 *		-> (allowed boolean, remaining integer, reset timestamptz)
 *
 * Count one request of an identifier against a tier.
 *
 *	identifier	any text; an IPv6 address counts as its /64
 *	tier		name in plinth.rate_limit_tiers
 *
 * A tier that is disabled allows everything and returns NULL for the rest.
 *
 * Errors: 22023 an argument is NULL or empty, or there is no such tier; 28000
 * or 42501 the identifier is not the caller's; 55000 not preloaded.
 */
PG_FUNCTION_INFO_V1(plinth_sql_limiter_check);
Datum
plinth_sql_limiter_check(PG_FUNCTION_ARGS)
{
	text *identifier;
	text *tier_name;
	const char *name;
	size_t length;
	char buffer[LIMITER_ADDRESS_SIZE];
	const LimiterTier *tier;
	LimiterAnswer answer;

	plinth_limiter_require_loaded();
	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("\"identifier\" and \"tier\" must not be NULL")));
	identifier = PG_GETARG_TEXT_PP(0);
	tier_name = PG_GETARG_TEXT_PP(1);
	if (VARSIZE_ANY_EXHDR(identifier) == 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("\"identifier\" must not be empty")));

	tier = require_tier(VARDATA_ANY(tier_name), VARSIZE_ANY_EXHDR(tier_name));
	name = plinth_limiter_address_key(
		VARDATA_ANY(identifier), VARSIZE_ANY_EXHDR(identifier), buffer, &length);
	check_may_count(name, length);

	take_tier(tier, LIMITER_TIER, tier->name, tier->length, name, length,
			  &answer);

	return answer_row(&answer);
}

/*
 * plinth.check_rate_limit(user_uuid uuid, endpoint_name text,
 *						   max_requests integer, window_minutes integer)
 *		-> boolean
 *
 * Count one request of a user to an endpoint; each pair of parameters counts
 * by itself.  True when it is allowed.
 *
 *	max_requests	requests in a window, from 1
 *	window_minutes	length of the window, from 1
 *
 * Errors: 22023 an argument is NULL, empty, or not positive; 28000 or 42501
 * the user is not the caller; 55000 not preloaded.
 */
PG_FUNCTION_INFO_V1(plinth_sql_limiter_check_endpoint);
Datum
plinth_sql_limiter_check_endpoint(PG_FUNCTION_ARGS)
{
	char identifier[UUID_TEXT_SIZE];
	text *endpoint;
	LimiterTerms terms;
	LimiterKey key;
	LimiterTake take;

	plinth_limiter_require_loaded();
	for (int i = 0; i < 4; i++)
		if (PG_ARGISNULL(i))
			ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
							errmsg("arguments of \"%s\" must not be NULL",
								   "plinth.check_rate_limit")));
	endpoint = PG_GETARG_TEXT_PP(1);
	if (VARSIZE_ANY_EXHDR(endpoint) == 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("\"endpoint_name\" must not be empty")));
	if (PG_GETARG_INT32(2) <= 0 || PG_GETARG_INT32(3) <= 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("\"max_requests\" and \"window_minutes\" must be "
							   "positive"),
						errdetail("The values given were %d and %d.",
								  PG_GETARG_INT32(2), PG_GETARG_INT32(3))));

	format_uuid(PG_GETARG_UUID_P(0), identifier);
	check_may_count(identifier, UUID_TEXT_SIZE - 1);

	/* 2^31 minutes fit well into 2^63 microseconds. */
	terms.limit = PG_GETARG_INT32(2);
	terms.window_us =
		(int64) PG_GETARG_INT32(3) * SECS_PER_MINUTE * USECS_PER_SEC;
	plinth_limiter_key_make(&key, LIMITER_ENDPOINT, VARDATA_ANY(endpoint),
							VARSIZE_ANY_EXHDR(endpoint), identifier,
							UUID_TEXT_SIZE - 1, &terms);
	plinth_limiter_take(&key, &terms, limiter_now(), &take);

	PG_RETURN_BOOL(take.allowed);
}

/*
 * plinth.rate_limit_caller(endpoint text)
 *		-> (allowed boolean, remaining integer, reset timestamptz)
 *
 * Count one request of the caller against the tier that the claims give.
 *
 *	endpoint	counts by itself under that tier; NULL counts with all others
 *
 * Errors: 22023 endpoint is empty, or the tier has no row; 55000 not
 * preloaded.
 */
PG_FUNCTION_INFO_V1(plinth_sql_limiter_caller);
Datum
plinth_sql_limiter_caller(PG_FUNCTION_ARGS)
{
	char *endpoint = NULL;
	LimiterAnswer answer;

	if (!PG_ARGISNULL(0))
	{
		endpoint = text_to_cstring(PG_GETARG_TEXT_PP(0));
		if (endpoint[0] == '\0')
			ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
							errmsg("\"endpoint\" must not be empty")));
	}

	plinth_limiter_check_caller(NULL, endpoint, &answer);

	return answer_row(&answer);
}

/*
 * plinth.require_rate_limit(tier text) -> void
 *
 * Count one request of the caller against a tier, NULL for that of the
 * claims, and raise PT429 when it is over the limit.
 *
 * Errors: PT429; 22023 no such tier; 55000 not preloaded.
 */
PG_FUNCTION_INFO_V1(plinth_sql_limiter_require);
Datum
plinth_sql_limiter_require(PG_FUNCTION_ARGS)
{
	char *tier = PG_ARGISNULL(0) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(0));

	plinth_limiter_require(tier);

	PG_RETURN_VOID();
}

/*
 * plinth.rate_limit_reset(identifier text, tier text) -> boolean
 *
 * Forget what an identifier has used of a tier or endpoint, whatever its
 * parameters.  False when there was no open window.
 *
 * Errors: 22023 an argument is NULL; 42501 the caller is no service; 55000
 * not preloaded.
 */
PG_FUNCTION_INFO_V1(plinth_sql_limiter_reset);
Datum
plinth_sql_limiter_reset(PG_FUNCTION_ARGS)
{
	text *identifier;
	text *tier;
	const char *name;
	size_t length;
	char buffer[LIMITER_ADDRESS_SIZE];
	LimiterKey key;

	plinth_limiter_require_loaded();
	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("\"identifier\" and \"tier\" must not be NULL")));
	if (!plinth_limiter_is_trusted())
		ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
						errmsg("permission denied to reset a rate limit")));

	identifier = PG_GETARG_TEXT_PP(0);
	tier = PG_GETARG_TEXT_PP(1);
	name = plinth_limiter_address_key(
		VARDATA_ANY(identifier), VARSIZE_ANY_EXHDR(identifier), buffer, &length);
	plinth_limiter_key_make(&key, LIMITER_TIER, VARDATA_ANY(tier),
							VARSIZE_ANY_EXHDR(tier), name, length, NULL);

	PG_RETURN_BOOL(plinth_limiter_forget(&key.label, limiter_now()) > 0);
}

void
plinth_limiter_check_caller(const char *tier_name, const char *endpoint,
							LimiterAnswer *answer)
{
	Caller caller;
	const LimiterTier *tier;

	plinth_limiter_require_loaded();
	if (tier_name == NULL)
		tier_name = caller_tier();
	tier = require_tier(tier_name, strlen(tier_name));
	find_caller(&caller);

	if (endpoint != NULL)
	{
		char *name = psprintf("%s/%s", tier->name, endpoint);

		take_tier(tier, LIMITER_CALLER, name, strlen(name), caller.identifier,
				  caller.length, answer);
		pfree(name);
	}
	else
		take_tier(tier, LIMITER_TIER, tier->name, tier->length,
				  caller.identifier, caller.length, answer);
}

void
plinth_limiter_require(const char *tier)
{
	LimiterAnswer answer;

	plinth_limiter_check_caller(tier, NULL, &answer);
	raise_unless_allowed(&answer);
}

void
plinth_limiter_require_endpoint(const char *endpoint)
{
	LimiterAnswer answer;

	plinth_limiter_check_caller(NULL, endpoint, &answer);
	raise_unless_allowed(&answer);
}

/*
 * Raise PT429 when a request was one too many.
 */
static void
raise_unless_allowed(const LimiterAnswer *answer)
{
	int64 wait_us;

	if (answer->allowed)
		return;

	wait_us = Max(answer->reset - GetCurrentTimestamp(), 0);
	ereport(ERROR, (errcode(LIMITER_SQLSTATE), errmsg("Rate limit exceeded"),
					errdetail("The limit is reset at %s.",
							  timestamptz_to_str(answer->reset)),
					errhint("%d requests remain; try again in " INT64_FORMAT
							" seconds.",
							answer->remaining,
							(wait_us + USECS_PER_SEC - 1) / USECS_PER_SEC)));
}

void
plinth_limiter_require_loaded(void)
{
	if (!limiter_is_loaded())
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("rate limits need plinth in \"%s\"",
							   "shared_preload_libraries"),
						errhint(PLINTH_PREFLIGHT_HINT)));
}

/*
 * Who is counted: the user of the claims, else the client's address.
 */
static void
find_caller(Caller *caller)
{
	const ClaimsIdentity *claims = plinth_claims_current();
	char *address;

	if (claims != NULL && claims->has_user)
	{
		StaticAssertStmt(UUID_TEXT_SIZE <= LIMITER_ADDRESS_SIZE,
						 "the buffer holds a uuid or an address");
		format_uuid(&claims->user_id, caller->buffer);
		caller->identifier = caller->buffer;
		caller->length = UUID_TEXT_SIZE - 1;
		return;
	}

	address = plinth_claims_client_address();
	if (address == NULL)
		address = pstrdup(LOCAL_CLIENT);
	caller->identifier = plinth_limiter_address_key(
		address, strlen(address), caller->buffer, &caller->length);
}

/*
 * The tier of the caller.  A service without a user in its claims is no
 * anonymous visitor.
 */
static const char *
caller_tier(void)
{
	const ClaimsIdentity *claims = plinth_claims_current();

	if (claims == NULL || !claims->has_user)
		return plinth_claims_is_service() ? TIER_AUTHENTICATED : TIER_ANONYMOUS;
	if (claims->tier != NULL && strcmp(claims->tier, TIER_PREMIUM) == 0)
		return TIER_PREMIUM;

	return TIER_AUTHENTICATED;
}

/*
 * May the caller count requests of this identifier?
 */
static void
check_may_count(const char *identifier, size_t length)
{
	const ClaimsIdentity *claims;
	Caller caller;

	if (plinth_limiter_is_trusted())
		return;

	find_caller(&caller);
	if (caller.length == length &&
		memcmp(caller.identifier, identifier, length) == 0)
		return;

	claims = plinth_claims_current();
	if (claims == NULL || !claims->has_user)
		ereport(ERROR, (errcode(ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION),
						errmsg("cannot count the requests of a user who is not "
							   "signed in"),
						errhint("Call this function with a signed token.")));
	ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
					errmsg("permission denied to count the requests of "
						   "somebody else")));
}

/*
 * Is the caller a service, or code of ours?  Only in a SECURITY DEFINER
 * function of ours is plinth_owner the current user; such a function has
 * checked its caller, and says itself whom it counts.
 */
bool
plinth_limiter_is_trusted(void)
{
	return plinth_claims_is_service() ||
		   GetUserId() == get_role_oid(PLINTH_OWNER_ROLE, true);
}

/* text has UUID_TEXT_SIZE bytes. */
static void
format_uuid(const pg_uuid_t *uuid, char *text)
{
	static const char digits[] = "0123456789abcdef";

	for (int i = 0; i < UUID_LEN; i++)
	{
		if (i == 4 || i == 6 || i == 8 || i == 10)
			*text++ = '-';
		*text++ = digits[uuid->data[i] >> 4];
		*text++ = digits[uuid->data[i] & 0x0F];
	}
	*text = '\0';
}

static const LimiterTier *
require_tier(const char *name, size_t length)
{
	const LimiterTier *tier = plinth_limiter_tier(name, length);

	if (tier == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("rate limit tier \"%s\" does not exist",
						pnstrdup(name, Min(length, NAMEDATALEN - 1))),
				 errhint("Tiers are rows of plinth.rate_limit_tiers; SELECT "
						 "plinth.install('auth') makes those of callers.")));

	return tier;
}

/*
 * Count one request under the terms of a tier.
 */
static void
take_tier(const LimiterTier *tier, LimiterKind kind, const char *name,
		  size_t name_length, const char *identifier, size_t identifier_length,
		  LimiterAnswer *answer)
{
	LimiterKey key;
	LimiterTake take;
	int64 now;

	*answer = (LimiterAnswer){.allowed = true, .limited = tier->enabled};
	if (!tier->enabled)
		return;

	plinth_limiter_key_make(&key, kind, name, name_length, identifier,
							identifier_length, NULL);
	now = limiter_now();
	plinth_limiter_take(&key, &tier->terms, now, &take);

	answer->allowed = take.allowed;
	answer->remaining = take.remaining;
	answer->reset = GetCurrentTimestamp() + (take.ends_at - now);
}

/*
 * An answer as a row of (allowed, remaining, reset).
 */
static Datum
answer_row(const LimiterAnswer *answer)
{
	static TupleDesc descriptor = NULL;
	Datum values[3];
	bool nulls[3] = {false, !answer->limited, !answer->limited};

	/* The same for every call, and dear to look up. */
	if (descriptor == NULL)
	{
		MemoryContext previous = MemoryContextSwitchTo(TopMemoryContext);
		TupleDesc made = CreateTemplateTupleDesc(3);

		TupleDescInitEntry(made, 1, "allowed", BOOLOID, -1, 0);
		TupleDescInitEntry(made, 2, "remaining", INT4OID, -1, 0);
		TupleDescInitEntry(made, 3, "reset", TIMESTAMPTZOID, -1, 0);
		descriptor = BlessTupleDesc(made);
		MemoryContextSwitchTo(previous);
	}

	values[0] = BoolGetDatum(answer->allowed);
	values[1] = Int32GetDatum(answer->remaining);
	values[2] = TimestampTzGetDatum(answer->reset);

	return HeapTupleGetDatum(heap_form_tuple(descriptor, values, nulls));
}

/*-------------------------------------------------------------------------
 *
 * limiter_views.c
 *		What the limiter has counted, for those who run the system.
 *
 * The functions behind plinth.rate_limits and plinth.rate_limit_status.  They
 * check their caller themselves, because the views' grants cannot tell an
 * administrator from another user.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <sodium.h>

#include "limiter/limiter_internal.h"

#include "base/admin.h"
#include "base/bytes.h"
#include "base/compat.h"
#include "base/names.h"
#include "catalog/pg_authid.h"
#include "claims/claims.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#define KEYS_COLUMNS 6
#define STATUS_COLUMNS 9

/* Bytes of an identifier's hash, as administrators see it. */
#define IDENTIFIER_HASH crypto_shorthash_siphashx24_BYTES

static void check_may_look(void);
static Datum shown_identifier(const LimiterLabel *label, bool clear);
static bool find_uuid(const LimiterLabel *label, pg_uuid_t *uuid);
static void count_keys(int64 *keys_here, int64 *keys);

/*
 * plinth.rate_limit_keys()
 *		-> setof (identifier, user_id, endpoint, request_count, window_start,
 *				  window_end)
 *
 * The open windows of this database, and the buckets that are not full.  The
 * identifier is in clear for services only; for others it is a hash that is
 * the same until the server restarts.
 *
 * Errors: 42501 the caller may not look; 55000 not preloaded.
 */
PG_FUNCTION_INFO_V1(plinth_sql_limiter_keys);
Datum
plinth_sql_limiter_keys(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	bool clear = plinth_claims_is_service();
	LimiterWindow *windows;

	check_may_look();
	InitMaterializedSRF(fcinfo, 0);
	windows =
		palloc(sizeof(LimiterWindow) * plinth_limiter_table.partition_slots);

	for (int i = 0; i < plinth_limiter_table.partitions; i++)
	{
		int found = plinth_limiter_partition_read(i, windows);
		int64 now = limiter_now();
		TimestampTz wall = GetCurrentTimestamp();

		CHECK_FOR_INTERRUPTS();
		for (int j = 0; j < found; j++)
		{
			const LimiterWindow *window = &windows[j];
			const LimiterLabel *label = &window->label;
			Datum values[KEYS_COLUMNS];
			bool nulls[KEYS_COLUMNS] = {false};
			pg_uuid_t user;
			TimestampTz ends = wall + (window->ends_at - now);

			if (label->database != MyDatabaseId || window->ends_at <= now)
				continue;
			values[0] = shown_identifier(label, clear);
			nulls[1] = !find_uuid(label, &user);
			values[1] = UUIDPGetDatum(&user);
			values[2] = PointerGetDatum(cstring_to_text_with_len(
				LIMITER_LABEL_NAME(label), label->name_length));
			values[3] = Int64GetDatum((int64) window->passed + window->over);
			nulls[4] = label->kind == LIMITER_BUCKET;
			values[4] = TimestampTzGetDatum(ends - window->terms.window_us);
			values[5] = TimestampTzGetDatum(ends);
			tuplestore_putvalues(result->setResult, result->setDesc, values,
								 nulls);
		}
	}

	return (Datum) 0;
}

/*
 * plinth.rate_limit_counts()
 *		-> setof (kind, endpoint, keys, allowed, refused, capacity, evictions,
 *				  refused_no_space, stats_reset)
 *
 * The counts of each tier and endpoint of this database, and those of the
 * whole server (kind total).
 *
 * Errors: 42501 the caller may not look; 55000 not preloaded.
 */
PG_FUNCTION_INFO_V1(plinth_sql_limiter_counts);
Datum
plinth_sql_limiter_counts(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	LimiterCounts *counts;
	LimiterTotals totals;
	int64 *keys_here;
	int64 keys = 0;
	uint64 allowed = 0;
	uint64 refused = 0;
	int found;
	Datum values[STATUS_COLUMNS];
	bool nulls[STATUS_COLUMNS] = {false};

	check_may_look();
	InitMaterializedSRF(fcinfo, 0);
	keys_here = palloc0(sizeof(int64) * (PG_UINT16_MAX + 1));
	count_keys(keys_here, &keys);
	found = plinth_limiter_stat_read(&counts);
	plinth_limiter_totals(&totals);

	nulls[5] = nulls[6] = nulls[7] = true;
	values[8] = TimestampTzGetDatum(totals.started);
	for (int i = 0; i < found; i++)
	{
		const LimiterCounts *row = &counts[i];
		bool others = row->name[0] == '\0';

		allowed += row->allowed;
		refused += row->refused;
		if (others ? row->allowed + row->refused == 0
				   : row->database != MyDatabaseId)
			continue;
		values[0] =
			CStringGetTextDatum(others						  ? "others"
								: row->kind == LIMITER_TIER	  ? "tier"
								: row->kind == LIMITER_BUCKET ? "key"
															  : "endpoint");
		nulls[1] = others;
		values[1] = CStringGetTextDatum(row->name);
		values[2] = Int64GetDatum(keys_here[row->stat]);
		values[3] = Int64GetDatum((int64) row->allowed);
		values[4] = Int64GetDatum((int64) row->refused);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}

	memset(nulls, 0, sizeof(nulls));
	values[0] = CStringGetTextDatum("total");
	nulls[1] = true;
	values[2] = Int64GetDatum(keys);
	values[3] = Int64GetDatum((int64) allowed);
	values[4] = Int64GetDatum((int64) refused);
	values[5] = Int64GetDatum(totals.capacity);
	values[6] = Int64GetDatum((int64) totals.evictions);
	values[7] = Int64GetDatum((int64) totals.no_space);
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);

	return (Datum) 0;
}

static void
check_may_look(void)
{
	if (!plinth_claims_is_service() &&
		!has_privs_of_role(GetUserId(), ROLE_PG_MONITOR) &&
		!plinth_admin_is_caller())
		ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
						errmsg("permission denied to see rate limits")));

	if (!limiter_is_loaded())
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("rate limits need plinth in \"%s\"",
							   "shared_preload_libraries"),
						errhint(PLINTH_PREFLIGHT_HINT)));
}

/*
 * The identifier of a key, or its hash under this start's secret.
 */
static Datum
shown_identifier(const LimiterLabel *label, bool clear)
{
	unsigned char hash[IDENTIFIER_HASH];
	char text[PLINTH_HEX_SIZE(IDENTIFIER_HASH) + 1];

	if (clear)
		return PointerGetDatum(cstring_to_text_with_len(
			LIMITER_LABEL_IDENTIFIER(label), label->identifier_length));

	crypto_shorthash_siphashx24(
		hash, (const unsigned char *) LIMITER_LABEL_IDENTIFIER(label),
		label->identifier_length, plinth_limiter_table.shared->secret);
	plinth_bytes_to_hex(hash, sizeof(hash), text);

	return CStringGetTextDatum(text);
}

/*
 * Is the identifier a user?
 */
static bool
find_uuid(const LimiterLabel *label, pg_uuid_t *uuid)
{
	const char *text = LIMITER_LABEL_IDENTIFIER(label);
	char digits[UUID_LEN * 2];
	int count = 0;

	memset(uuid, 0, sizeof(*uuid));
	if (label->identifier_length != 36)
		return false;
	for (int i = 0; i < 36; i++)
	{
		bool hyphen = i == 8 || i == 13 || i == 18 || i == 23;

		if (hyphen != (text[i] == '-'))
			return false;
		if (!hyphen)
			digits[count++] = text[i];
	}

	return plinth_bytes_from_hex(digits, sizeof(digits), uuid->data);
}

/*
 * Count the open windows: those of this database by where they are counted,
 * and all.
 */
static void
count_keys(int64 *keys_here, int64 *keys)
{
	LimiterWindow *windows =
		palloc(sizeof(LimiterWindow) * plinth_limiter_table.partition_slots);

	for (int i = 0; i < plinth_limiter_table.partitions; i++)
	{
		int found = plinth_limiter_partition_read(i, windows);
		int64 now = limiter_now();

		CHECK_FOR_INTERRUPTS();
		for (int j = 0; j < found; j++)
		{
			if (windows[j].ends_at <= now)
				continue;
			(*keys)++;
			if (windows[j].label.database == MyDatabaseId)
				keys_here[windows[j].stat]++;
		}
	}
	pfree(windows);
}

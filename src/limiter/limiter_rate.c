/*-------------------------------------------------------------------------
 *
 * limiter_rate.c
 *		The smooth limit as SQL calls it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "limiter/limiter_internal.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "common/int.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "base/compat.h"

#define RATE_COLUMNS 5

/* A burst must come back within this time, in ticks: 366 days. */
#define RATE_MAX_TICKS \
	(INT64CONST(366) * SECS_PER_DAY * USECS_PER_SEC * LIMITER_TICKS_PER_US)

static void require_service(void);
static void make_key(LimiterKey *key, text *name);
static int64 period_us(const Interval *period);
static void read_rate(int32 burst, int32 rate, const Interval *period,
					  LimiterRate *result);
static Interval *interval_of(int64 ticks);
static Datum bucket_row(const LimiterRate *rate, const LimiterBucket *bucket);

/*
 * plinth.rate_limit(key text, burst integer, rate integer, period interval,
 *					 cost integer)
 *		-> (allowed boolean, "limit" integer, remaining integer,
 *			retry_after interval, reset_after interval)
 *
 * Take from the bucket of a key.
 *
 *	burst	requests at once, from 1
 *	rate	requests that come back in each period, from 1
 *	period	a length of time without months
 *	cost	requests to take, at most burst; 0 looks; less than 0 puts back
 *
 * Errors: 22023 an argument is NULL or out of range; 42501 the caller is no
 * service; 55000 not preloaded.
 */
PG_FUNCTION_INFO_V1(plinth_sql_limiter_rate);
Datum
plinth_sql_limiter_rate(PG_FUNCTION_ARGS)
{
	LimiterBucket bucket;
	LimiterRate rate;
	LimiterKey key;
	int32 cost;

	plinth_limiter_require_loaded();
	for (int i = 0; i < 5; i++)
		if (PG_ARGISNULL(i))
			ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
							errmsg("arguments of \"%s\" must not be NULL",
								   "plinth.rate_limit")));
	require_service();
	read_rate(PG_GETARG_INT32(1), PG_GETARG_INT32(2), PG_GETARG_INTERVAL_P(3),
			  &rate);
	cost = PG_GETARG_INT32(4);
	if (cost > rate.burst)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"cost\" must not be greater than \"burst\""),
				 errdetail("A request of %d would never pass a burst of %d.",
						   cost, rate.burst)));
	make_key(&key, PG_GETARG_TEXT_PP(0));

	plinth_limiter_take_bucket(&key, &rate, limiter_now_ticks(), cost, &bucket);

	return bucket_row(&rate, &bucket);
}

/*
 * plinth.rate_limit_reset(key text) -> boolean
 *
 * Forget what a key lacks.  False when it lacked nothing.
 *
 * Errors: 22023 the key is NULL or empty; 42501 the caller is no service;
 * 55000 not preloaded.
 */
PG_FUNCTION_INFO_V1(plinth_sql_limiter_rate_reset);
Datum
plinth_sql_limiter_rate_reset(PG_FUNCTION_ARGS)
{
	LimiterKey key;

	plinth_limiter_require_loaded();
	if (PG_ARGISNULL(0))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("\"key\" must not be NULL")));
	require_service();
	make_key(&key, PG_GETARG_TEXT_PP(0));

	PG_RETURN_BOOL(plinth_limiter_forget(&key.label, limiter_now()) > 0);
}

static void
require_service(void)
{
	if (!plinth_limiter_is_trusted())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to use the key of a rate limit"),
				 errhint("Services and functions of \"plinth_owner\" may; "
						 "others have plinth.rate_limit_caller().")));
}

static void
make_key(LimiterKey *key, text *name)
{
	if (VARSIZE_ANY_EXHDR(name) == 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("\"key\" must not be empty")));
	plinth_limiter_key_make(key, LIMITER_BUCKET, LIMITER_BUCKET_NAME,
							strlen(LIMITER_BUCKET_NAME), VARDATA_ANY(name),
							VARSIZE_ANY_EXHDR(name), NULL);
}

/*
 * The length of a period in microseconds; 0 when it has none that is always
 * the same, or it is not positive, or longer than any that is of use.
 */
static int64
period_us(const Interval *period)
{
	int64 days_us = (int64) period->day * SECS_PER_DAY * USECS_PER_SEC;
	int64 result;

	if (period->month != 0 ||
		pg_add_s64_overflow(days_us, period->time, &result) || result < 0 ||
		result > RATE_MAX_TICKS)
		return 0;

	return result;
}

/*
 * Check a rate, and bring it into ticks.
 */
static void
read_rate(int32 burst, int32 rate, const Interval *period, LimiterRate *result)
{
	int64 period_ticks;
	int64 whole;

	if (burst <= 0 || rate <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"burst\" and \"rate\" must be positive"),
				 errdetail("The values given were %d and %d.", burst, rate)));
	if (pg_mul_s64_overflow(period_us(period), LIMITER_TICKS_PER_US,
							&period_ticks))
		period_ticks = 0;

	result->burst = burst;
	result->interval = period_ticks / rate;
	if (result->interval == 0 ||
		pg_mul_s64_overflow(result->interval, burst, &whole) ||
		whole > RATE_MAX_TICKS)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"period\" is out of range"),
				 errdetail("It is a positive time without months, in which no "
						   "more than one request comes back in %d ns, and a "
						   "burst within 366 days.",
						   LIMITER_TICK_NS)));
}

/*
 * A time as an interval, rounded up to microseconds: who waits so long has
 * waited long enough.
 */
static Interval *
interval_of(int64 ticks)
{
	Interval *interval = palloc0(sizeof(Interval));

	interval->time = (ticks + LIMITER_TICKS_PER_US - 1) / LIMITER_TICKS_PER_US;

	return interval;
}

static Datum
bucket_row(const LimiterRate *rate, const LimiterBucket *bucket)
{
	static TupleDesc descriptor = NULL;
	Datum values[RATE_COLUMNS] = {0};
	bool nulls[RATE_COLUMNS] = {false};

	/* The same for every call, and dear to look up. */
	if (descriptor == NULL)
	{
		MemoryContext previous = MemoryContextSwitchTo(TopMemoryContext);
		TupleDesc made = CreateTemplateTupleDesc(RATE_COLUMNS);

		TupleDescInitEntry(made, 1, "allowed", BOOLOID, -1, 0);
		TupleDescInitEntry(made, 2, "limit", INT4OID, -1, 0);
		TupleDescInitEntry(made, 3, "remaining", INT4OID, -1, 0);
		TupleDescInitEntry(made, 4, "retry_after", INTERVALOID, -1, 0);
		TupleDescInitEntry(made, 5, "reset_after", INTERVALOID, -1, 0);
		descriptor = BlessTupleDesc(made);
		MemoryContextSwitchTo(previous);
	}

	values[0] = BoolGetDatum(bucket->allowed);
	values[1] = Int32GetDatum(rate->burst);
	values[2] = Int32GetDatum(bucket->remaining);
	nulls[3] = bucket->allowed;
	if (!bucket->allowed)
		values[3] = IntervalPGetDatum(interval_of(bucket->retry_after));
	values[4] = IntervalPGetDatum(interval_of(bucket->reset_after));

	return HeapTupleGetDatum(heap_form_tuple(descriptor, values, nulls));
}

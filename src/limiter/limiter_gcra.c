/*-------------------------------------------------------------------------
 *
 * limiter_gcra.c
 *		The smooth limit's arithmetic.
 *
 * The generic cell rate algorithm keeps one number for a key: the time at
 * which it will have all of its burst again.  Each request moves that time on
 * by its cost, and passes if it does not come to lie further ahead than the
 * whole burst takes to come back.
 *
 * Pure: values in, values out; no clock, no memory, no error.
 *
 * Source: ITU-T I.371 (virtual scheduling).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "limiter/limiter_internal.h"

/*
 * What becomes of a request.
 *
 *	full_at	when the key has all of its burst again, before the request; in the
 *			past when it has
 *	cost	requests at once, at most the burst; 0: would one pass now?  less
 *			than 0: as many come back, never more than the burst
 */
void
plinth_limiter_gcra(const LimiterRate *rate, int64 full_at, int64 now,
					int32 cost, LimiterBucket *bucket)
{
	int64 whole = rate->burst * rate->interval;
	int64 used = Min(Max(full_at - now, 0), whole);
	int64 needed = rate->interval * Max(cost, 1);

	bucket->allowed = cost < 0 || used + needed <= whole;
	bucket->retry_after = bucket->allowed ? 0 : used + needed - whole;
	if (cost > 0 && bucket->allowed)
		used += needed;
	else if (cost < 0)
		used -= Min((int64) - (int64) cost * rate->interval, used);

	bucket->remaining = (int32) ((whole - used) / rate->interval);
	bucket->reset_after = used;
	bucket->full_at = now + used;
}

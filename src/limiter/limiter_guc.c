/*-------------------------------------------------------------------------
 *
 * limiter_guc.c
 *		Settings of the limiter.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "limiter/limiter_internal.h"

#include "miscadmin.h"
#include "utils/guc.h"

int plinth_limiter_entries = 65536;		 /* keys that fit, at least */
bool plinth_limiter_fail_closed = false; /* refuse rather than forget */

/*
 * Define plinth.rate_limit_*.  Called once, from _PG_init().
 */
void
plinth_limiter_define_settings(void)
{
	/*
	 * Sizes shared memory, so it is fixed once the server is up.  A library
	 * that is loaded later has no table; it may not define such a setting,
	 * and defines one that changes nothing.
	 */
	DefineCustomIntVariable("plinth.rate_limit_entries",
							"Sets the number of keys the rate limiter can "
							"count at once.",
							"Each takes about 280 bytes of shared memory.",
							&plinth_limiter_entries, 65536, 16, 4 * 1024 * 1024,
							process_shared_preload_libraries_in_progress
								? PGC_POSTMASTER
								: PGC_SIGHUP,
							0, NULL, NULL, NULL);

	DefineCustomBoolVariable("plinth.rate_limit_fail_closed",
							 "Enables refusing a new key when only keys that "
							 "have used up their limit could make room.",
							 "Otherwise the one whose window ends first is "
							 "forgotten.",
							 &plinth_limiter_fail_closed, false, PGC_SIGHUP, 0,
							 NULL, NULL, NULL);
}

/*-------------------------------------------------------------------------
 *
 * limiter_guc.c
 *		Settings of the limiter.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "limiter/limiter_internal.h"

#include "base/settings.h"

int plinth_limiter_entries = 65536;		 /* keys that fit, at least */
bool plinth_limiter_fail_closed = false; /* refuse rather than forget */

/*
 * Define plinth.rate_limit_*.  Called once, from _PG_init().
 */
void
plinth_limiter_define_settings(void)
{
	/* Sizes shared memory, so it is fixed once the server is up. */
	DefineCustomIntVariable("plinth.rate_limit_entries",
							"Sets the number of keys the rate limiter can "
							"count at once.",
							"Each takes about 280 bytes of shared memory.",
							&plinth_limiter_entries, 65536, 16, 4 * 1024 * 1024,
							PLINTH_PGC_START, 0, NULL, NULL, NULL);

	DefineCustomBoolVariable("plinth.rate_limit_fail_closed",
							 "Enables refusing a new key when only keys that "
							 "have used up their limit could make room.",
							 "Otherwise the one whose window ends first is "
							 "forgotten.",
							 &plinth_limiter_fail_closed, false, PGC_SIGHUP, 0,
							 NULL, NULL, NULL);
}

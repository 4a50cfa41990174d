/*-------------------------------------------------------------------------
 *
 * limiter.h
 *		How often?
 *
 * Requests are counted by key in fixed windows, in shared memory: a count is
 * no part of the caller's transaction, and nobody waits for a commit.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PLINTH_LIMITER_H
#define PLINTH_LIMITER_H

#include "postgres.h"

#include "datatype/timestamp.h"

/* Settings and memory; called by plinth.c. */
extern void plinth_limiter_define_settings(void);
extern void plinth_limiter_shmem_request(void);
extern void plinth_limiter_shmem_startup(void);

/* What a check says. */
typedef struct LimiterAnswer
{
	bool allowed;
	bool limited;	   /* false: the tier is disabled, the rest is unset */
	int32 remaining;   /* requests left in this window */
	TimestampTz reset; /* when the window ends, by the wall clock */
} LimiterAnswer;

/*
 * Count one request of the caller, who is the user of the claims or else the
 * client's address, against a tier; NULL takes the tier from the claims.
 * endpoint, unless NULL, makes a count of its own under that tier.
 *
 * Errors: 22023 no such tier; 55000 not preloaded.
 */
extern void plinth_limiter_check_caller(const char *tier, const char *endpoint,
										LimiterAnswer *answer);

/*
 * The same, and PT429 when the limit is exceeded.
 */
extern void plinth_limiter_require(const char *tier);
extern void plinth_limiter_require_endpoint(const char *endpoint);

#endif /* PLINTH_LIMITER_H */

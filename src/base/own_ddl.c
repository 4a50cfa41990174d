/*-------------------------------------------------------------------------
 *
 * own_ddl.c
 *		Is it our own code that changes tables, or somebody's?
 *
 *-------------------------------------------------------------------------
 */
#include "base/own_ddl.h"

static int depth = 0; /* of work of ours in progress */

void
plinth_own_ddl_run(void (*work)(void *arg), void *arg)
{
	depth++;
	PG_TRY();
	{
		work(arg);
	}
	PG_FINALLY();
	{
		depth--;
	}
	PG_END_TRY();
}

bool
plinth_own_ddl(void)
{
	return depth > 0;
}

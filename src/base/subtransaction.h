/*-------------------------------------------------------------------------
 *
 * subtransaction.h
 *		Try something that may fail, and go on.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PLINTH_SUBTRANSACTION_H
#define PLINTH_SUBTRANSACTION_H

#include "postgres.h"

/*
 * Call a step in a subtransaction and in the current memory context.
 *
 * Returns NULL when it went well: what it did is the transaction's.  Else
 * what it did is undone, and the error that it raised is returned, in the
 * current memory context; what it left in memory is the caller's.
 */
extern ErrorData *plinth_try(void (*step)(void *arg), void *arg);

/*
 * The same where an error is the fault of what is tried: a cancel or a
 * shutdown is not, and is raised again.
 */
extern ErrorData *plinth_try_unless_told_to_stop(void (*step)(void *arg),
												 void *arg);

#endif /* PLINTH_SUBTRANSACTION_H */

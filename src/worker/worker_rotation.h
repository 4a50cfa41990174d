/*-------------------------------------------------------------------------
 *
 * worker_rotation.h
 *		Sealed values follow the active key: the step, and what it reports.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PLINTH_WORKER_ROTATION_H
#define PLINTH_WORKER_ROTATION_H

#include "worker/worker.h"

#include "secrets/secrets.h"

/*
 * Reseal a batch of each declared column that may have values under another
 * key than the active one.  Returns the milliseconds until it wants to be
 * called again; outside a transaction.
 */
extern long plinth_worker_rotation_step(void);

/*
 * The last error of a column of this database, for plinth.stat_rotation; NULL
 * when its last batch went well.  The text is copied, cut to what fits.
 */
extern void plinth_worker_rotation_report(const SecretsColumn *column,
										  const char *error);

#endif /* PLINTH_WORKER_ROTATION_H */

/*-------------------------------------------------------------------------
 *
 * settings.h
 *		What settings of several rooms have in common.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PLINTH_SETTINGS_H
#define PLINTH_SETTINGS_H

#include "miscadmin.h"
#include "utils/guc.h"

/*
 * Context of a setting that is fixed once the server is up, because it sizes
 * shared memory or is read at the start.  Only a preloaded library may define
 * such a setting, the server ends a session that tries; where the library is
 * loaded later there is nothing to size, and the setting changes nothing.
 */
#define PLINTH_PGC_START \
	(process_shared_preload_libraries_in_progress ? PGC_POSTMASTER : PGC_SIGHUP)

#endif /* PLINTH_SETTINGS_H */

/*-------------------------------------------------------------------------
 *
 * keep.h
 *		Keeps a table of shared memory in a file over a clean restart.
 *
 * The postmaster writes it when all other processes have gone, and reads and
 * removes it at the next start.  Only the server's own account may read the
 * file.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PLINTH_KEEP_H
#define PLINTH_KEEP_H

#include "postgres.h"

/*
 * Has the server come to rest, as the control file has it?  An exit callback
 * is called for every end of the postmaster, and its exit code does not tell
 * an immediate shutdown from others.
 */
extern bool plinth_keep_is_clean_shutdown(void);

/*
 * Write records to a file of the data directory, whole or not at all.  The
 * magic number changes when the layout of a record does.  What goes wrong is
 * reported in the log.
 */
extern void plinth_keep_write(const char *name, uint64 magic,
							  uint64 system_identifier, const void *records,
							  Size record_size, uint64 count);

/*
 * Read such a file and remove it.  NULL when there is none, or when it is
 * damaged, of another cluster or of another layout, which is reported in the
 * log with "lost", a sentence that says what that means.  The records are
 * the caller's to free.
 */
extern void *plinth_keep_read(const char *name, uint64 magic,
							  uint64 system_identifier, Size record_size,
							  uint64 *count, const char *lost);

#endif /* PLINTH_KEEP_H */

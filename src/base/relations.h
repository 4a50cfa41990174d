/*-------------------------------------------------------------------------
 *
 * relations.h
 *		OIDs of the extension's own tables, and of the extension itself.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PLINTH_RELATIONS_H
#define PLINTH_RELATIONS_H

#include "postgres.h"

/*
 * OID of a table or view of schema plinth.  The name must be a string
 * constant: the cache keeps the pointer.  InvalidOid when there is none,
 * which is not cached.
 */
extern Oid plinth_relation_oid(const char *name);

/* The same, or an error: for what cannot be missing while we are called. */
extern Oid plinth_relation_require(const char *name);

#endif /* PLINTH_RELATIONS_H */

/*-------------------------------------------------------------------------
 *
 * module.h
 *		How do the applications get in?
 *
 * A module is a set of ordinary tables and functions in a schema of its own,
 * made by a script that plinth.install() runs as plinth_owner.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PLINTH_MODULE_H
#define PLINTH_MODULE_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "nodes/pg_list.h"

/* One row of plinth.installed_modules. */
typedef struct ModuleInstance
{
	char *module;
	char *schema;
	char *version;
	List *joined;			  /* char *: the modules joined with */
	uint64 system_identifier; /* of the cluster it was enabled in */
	Oid database_oid;		  /* of the database it was enabled in */
	int16 era;
} ModuleInstance;

/*
 * Every installed module as the last commit left it, in the order of their
 * names, in the current memory context.  Needs a transaction.  NIL when the
 * extension is not there.  No right is asked for: callers decide.
 */
extern List *plinth_module_instances(void);

/* The schema of an installed shared module exists and is ours. */
extern bool plinth_module_installed(const char *module);

/*
 * Is this the database in which the modules were enabled (S6.3)?  True when
 * none is installed.  Needs a transaction.
 */
extern bool plinth_module_identity_matches(void);

#endif /* PLINTH_MODULE_H */

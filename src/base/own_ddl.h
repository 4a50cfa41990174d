/*-------------------------------------------------------------------------
 *
 * own_ddl.h
 *		Is it our own code that changes tables, or somebody's?
 *
 * Installing a module, attaching a table and the upkeep of the log are DDL on
 * tables that the audit trail watches, and leave no marks (S5.4).  They say
 * so here: in memory that SQL does not reach, so that nobody else can.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PLINTH_OWN_DDL_H
#define PLINTH_OWN_DDL_H

#include "postgres.h"

/*
 * Run a piece of work as our own.  Ends with the work, also by an error; may
 * be nested.
 */
extern void plinth_own_ddl_run(void (*work)(void *arg), void *arg);

extern bool plinth_own_ddl(void);

#endif /* PLINTH_OWN_DDL_H */

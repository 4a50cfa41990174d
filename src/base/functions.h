/*-------------------------------------------------------------------------
 *
 * functions.h
 *		Functions of modules that C calls.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PLINTH_FUNCTIONS_H
#define PLINTH_FUNCTIONS_H

#include "postgres.h"

/*
 * OID of a module's function, looked up at each call, because the extension
 * is there before any module is.  InvalidOid when there is none of that
 * name, arguments and result that plinth_owner owns: in a database without
 * the module anybody with the right to create schemas could make one.
 */
extern Oid plinth_module_function(const char *schema, const char *name,
								  int nargs, const Oid *types, Oid result);

#endif /* PLINTH_FUNCTIONS_H */

/*-------------------------------------------------------------------------
 *
 * admin.h
 *		Is the caller an administrator of the application?
 *
 *-------------------------------------------------------------------------
 */
#ifndef PLINTH_ADMIN_H
#define PLINTH_ADMIN_H

#include "postgres.h"

/*
 * What auth.is_admin() says, which looks at the user's row each time; false
 * where the module auth is not installed.  Needs an active snapshot.
 */
extern bool plinth_admin_is_caller(void);

#endif /* PLINTH_ADMIN_H */

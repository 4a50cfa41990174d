/*-------------------------------------------------------------------------
 *
 * audit_actor.c
 *		Where a request came from, as an address.
 *
 *-------------------------------------------------------------------------
 */
#include "audit/audit_internal.h"

#include <sys/socket.h>

#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/inet.h"

#include "claims/claims.h"

/*
 * Get the client's address, or false.  A header can say anything, so the
 * text is tried before the type's input function may raise an error.
 */
bool
plinth_audit_client_address(Datum *address)
{
	char *string = plinth_claims_client_address();
	unsigned char bytes[16];
	int family;

	if (string == NULL)
		return false;

	family = strchr(string, ':') != NULL ? PGSQL_AF_INET6 : PGSQL_AF_INET;
	if (pg_inet_net_pton(family, string, bytes, (size_t) -1) < 0)
		return false;

	*address = DirectFunctionCall1(inet_in, CStringGetDatum(string));

	return true;
}

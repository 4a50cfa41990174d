/*-------------------------------------------------------------------------
 *
 * names.h
 *		Names that more than one room spells: schema, roles, publication.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PLINTH_NAMES_H
#define PLINTH_NAMES_H

#define PLINTH_EXTENSION "plinth"
#define PLINTH_LIBRARY "plinth"
#define PLINTH_SCHEMA "plinth"

#define PLINTH_OWNER_ROLE "plinth_owner"
#define PLINTH_GATEWAY_ROLE "plinth_gateway"
#define PLINTH_ANON_ROLE "anon"
#define PLINTH_USER_ROLE "authenticated"
#define PLINTH_SERVICE_ROLE "service_role"

#define PLINTH_PUBLICATION "plinth_realtime"

/* The setting in which PostgREST states whose request it is. */
#define PLINTH_CLAIMS_SETTING "request.jwt.claims"

/* The hint of every error that says a prerequisite is missing. */
#define PLINTH_PREFLIGHT_HINT                                           \
	"See SELECT * FROM plinth.preflight() for what is missing and the " \
	"command that mends it."

#endif /* PLINTH_NAMES_H */

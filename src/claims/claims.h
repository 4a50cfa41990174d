/*-------------------------------------------------------------------------
 *
 * claims.h
 *		Who is asking?
 *
 * The claims in force are those that auth.authenticate() has verified, else
 * those of request.jwt.claims when the session user may be believed; they
 * are parsed once, when they are set.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PLINTH_CLAIMS_H
#define PLINTH_CLAIMS_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "utils/uuid.h"

/*
 * What a set of claims says.  All pointers lead into one block that lives
 * as long as the setting has this value; absent strings are NULL.
 */
typedef struct ClaimsIdentity
{
	bool has_user;			/* sub is there and a uuid */
	pg_uuid_t user_id;		/* sub */
	bool has_session;		/* session_id is there and a uuid */
	pg_uuid_t session_id;	/* session_id */
	TimestampTz expires_at; /* exp; DT_NOEND when there is none */
	const char *role;		/* role; NULL when absent */
	const char *email;		/* email */
	const char *aal;		/* aal */
	const char *tier;		/* app_metadata.tier */
	const char *json;		/* the whole object, as it was set */
} ClaimsIdentity;

/* Settings and memory; called by plinth.c. */
extern void plinth_claims_define_settings(void);

/*
 * The claims that count now, or NULL for an anonymous caller: nothing set,
 * nothing believable, not an object, or expired (by more than plinth.jwt_leeway)
 * at the transaction's start.  The pointer is good until a setting changes.
 */
extern const ClaimsIdentity *plinth_claims_current(void);

/*
 * Make claims the verified ones: until the transaction ends, or for the
 * session.  The text must be a JSON object, or empty: then there are none.
 * Not in a parallel operation.
 */
extern void plinth_claims_set_verified(const char *json, bool is_local);

/*
 * Whom a token speaks for, when it is good now and its session has not
 * ended; 28000 for any other.  The claims in force stay as they are.  In the
 * current memory context.
 */
extern const ClaimsIdentity *plinth_claims_of_token(Datum token);

/*
 * Is the session that the claims in force name still open?  Also true when
 * they name none.  Needs an active snapshot.
 */
extern bool plinth_claims_session_open(void);

/*
 * Has the session been ended, although its table does not show it yet?  Set
 * when the library is loaded, by the room that keeps such news; asked before
 * the table is read.  NULL when there is none.
 */
extern bool (*plinth_claims_session_revoked)(const pg_uuid_t *session_id);

/*
 * The user that the settings name may be another one now.  Set when the
 * library is loaded; called when they are assigned, so it must not fail, and
 * may be called outside a transaction.
 */
extern void (*plinth_claims_user_changed)(void);

/*
 * Is the role in force outside any SECURITY DEFINER function service_role,
 * plinth_owner or a superuser?  A worker that runs somebody's policy must
 * set the role setting as well, or it is asked about itself.
 */
extern bool plinth_claims_is_service(void);
extern bool plinth_claims_is_service_role(Oid role);

/*
 * Refuse who may not read what the server keeps of its work: 42501 unless the
 * caller is a service, an administrator or a member of pg_monitor.  Of what:
 * "permission denied for the statistics of %s".
 */
extern void plinth_claims_require_monitor(const char *subject);

/*
 * The client's address as text ("192.0.2.7", "2001:db8::1"), or NULL when it
 * is unknown: first address of x-forwarded-for of a believed request.headers
 * when plinth.trust_forwarded_for is on, else the connection's.  In the
 * current memory context.  A parallel worker has no connection: functions
 * that ask for the address are PARALLEL RESTRICTED.
 */
extern char *plinth_claims_client_address(void);

/* user-agent of a believed request.headers, or NULL; current context. */
extern char *plinth_claims_user_agent(void);

#endif /* PLINTH_CLAIMS_H */

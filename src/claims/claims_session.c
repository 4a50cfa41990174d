/*-------------------------------------------------------------------------
 *
 * claims_session.c
 *		The claims of the session and its transaction: whose they are, and
 *		whether they are believed.
 *
 * Claims live in settings, so that the server itself undoes them at the end of
 * a transaction and at a rollback, and hands them to parallel workers.  Their
 * text is parsed in the check hook, once; the parsed block is the setting's
 * "extra", which the server keeps with each stacked value.  Check hooks may
 * run outside transactions: they neither raise errors nor touch the catalog,
 * and a text that is no claims is accepted and counts as none.
 *
 * request.jwt.claims and request.headers can be set by anyone.  They count
 * when they were set in the session, not by a role's or database's default
 * or a connection option, and the session user is a superuser or listed in
 * plinth.trusted_roles.  plinth.verified_claims is set by C alone.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "claims/claims_internal.h"

#include <arpa/inet.h>

#include "access/xact.h"
#include "base/admin.h"
#include "base/compat.h"
#include "base/names.h"
#include "catalog/pg_authid.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"
#include "utils/varlena.h"

#define HEADERS_SETTING "request.headers"
#define VERIFIED_SETTING "plinth.verified_claims"

/* Request headers are not longer than this, in bytes. */
#define HEADERS_MAX_SIZE (64 * 1024)

/* Parsed request.headers, one flat block as ClaimsBlock is. */
typedef struct HeadersBlock
{
	const char *forwarded_for; /* x-forwarded-for, or NULL */
	const char *user_agent;	   /* user-agent, or NULL */
	char text[FLEXIBLE_ARRAY_MEMBER];
} HeadersBlock;

static char *claims_setting = NULL;
static char *headers_setting = NULL;
static char *verified_setting = NULL;
static char *trusted_roles = NULL;
static bool trust_forwarded_for = false;

/* What the assign hooks were handed; NULL when there are no claims. */
static const ClaimsBlock *session_claims = NULL;
static const ClaimsBlock *verified_claims = NULL;
static const HeadersBlock *session_headers = NULL;

void (*plinth_claims_user_changed)(void) = NULL;

/* Number of the next parsed block. */
static uint64 next_serial = 1;

/*
 * Is the session user believed?  The answer for believed_user, until it is
 * dropped by a change of plinth.trusted_roles or of any role.
 */
static bool believed_known = false;
static Oid believed_user = InvalidOid;
static bool believed = false;
static bool watching_roles = false;

static bool check_claims(char **newval, void **extra, GucSource source);
static void assign_claims(const char *newval, void *extra);
static void assign_verified(const char *newval, void *extra);
static void replace_claims(const ClaimsBlock **claims, const ClaimsBlock *next);
static bool check_headers(char **newval, void **extra, GucSource source);
static void assign_headers(const char *newval, void *extra);
static bool check_trusted_roles(char **newval, void **extra, GucSource source);
static void assign_trusted_roles(const char *newval, void *extra);
static bool session_is_believed(void);
static bool find_believed(Oid user);
static void forget_believed(Datum arg, int cacheid, uint32 hashvalue);
static char *forwarded_address(const char *header);
static char *connection_address(void);

/*
 * Define the settings of this room.  Called once, from _PG_init().
 */
void
plinth_claims_define_settings(void)
{
	DefineCustomStringVariable(
		PLINTH_CLAIMS_SETTING,
		"Sets the claims of the request, as PostgREST does.",
		"Believed only when the session user is a superuser or listed in \"plinth.trusted_roles\".",
		&claims_setting, "", PGC_USERSET, GUC_NOT_IN_SAMPLE, check_claims,
		assign_claims, NULL);

	DefineCustomStringVariable(
		HEADERS_SETTING, "Sets the headers of the request, as PostgREST does.",
		"A JSON object with lower-case names; believed as \"request.jwt.claims\" is.",
		&headers_setting, "", PGC_USERSET, GUC_NOT_IN_SAMPLE, check_headers,
		assign_headers, NULL);

	/*
	 * Not PGC_INTERNAL, which parallel workers are not sent, and not kept by
	 * RESET ALL, which a pool relies on.
	 */
	DefineCustomStringVariable(
		VERIFIED_SETTING,
		"Sets the claims that auth.authenticate() has verified.",
		"Set by the extension itself.", &verified_setting, "", PGC_SUSET,
		GUC_NO_SHOW_ALL | GUC_NOT_IN_SAMPLE | GUC_DISALLOW_IN_FILE |
			GUC_SUPERUSER_ONLY,
		check_claims, assign_verified, NULL);

	DefineCustomStringVariable(
		"plinth.trusted_roles",
		"Sets the session users whose \"request.jwt.claims\" is believed, besides superusers.",
		"Empty means that no ordinary session is believed: each must call auth.authenticate().",
		&trusted_roles, "authenticator", PGC_SUSET, GUC_LIST_INPUT,
		check_trusted_roles, assign_trusted_roles, NULL);

	DefineCustomBoolVariable(
		"plinth.trust_forwarded_for",
		"Enables taking the client's address from x-forwarded-for of \"request.headers\".",
		"Only for a gateway that sets this header itself.",
		&trust_forwarded_for, false, PGC_SUSET, 0, NULL, NULL, NULL);

	plinth_claims_define_rules();
}

const ClaimsIdentity *
plinth_claims_current(void)
{
	const ClaimsBlock *block = plinth_claims_current_block();

	return block != NULL ? &block->identity : NULL;
}

const ClaimsBlock *
plinth_claims_current_block(void)
{
	const ClaimsBlock *block = verified_claims;
	TimestampTz expires_at;

	/* Expired verified claims do not give way to claims merely stated. */
	if (block == NULL)
	{
		block = session_claims;
		if (block == NULL || !session_is_believed())
			return NULL;
	}

	expires_at = block->identity.expires_at;
	if (expires_at != DT_NOEND &&
		expires_at + plinth_claims_jwt_leeway * USECS_PER_SEC <=
			GetCurrentTransactionStartTimestamp())
		return NULL;

	return block;
}

void
plinth_claims_set_verified(const char *json, bool is_local)
{
	set_config_option(VERIFIED_SETTING, json, PGC_SUSET, PGC_S_SESSION,
					  is_local ? GUC_ACTION_LOCAL : GUC_ACTION_SET, true, 0,
					  false);
}

/*
 * The outer user is what SET ROLE chose, else the session user; SECURITY
 * DEFINER does not touch it.  Where the server runs somebody's code with its
 * own authority (index expressions, REFRESH), the outer user is whoever
 * started that, so there nobody is a service.
 */
bool
plinth_claims_is_service(void)
{
	return !InSecurityRestrictedOperation() &&
		   plinth_claims_is_service_role(GetOuterUserId());
}

bool
plinth_claims_is_service_role(Oid role)
{
	return superuser_arg(role) ||
		   role == get_role_oid(PLINTH_SERVICE_ROLE, true) ||
		   role == get_role_oid(PLINTH_OWNER_ROLE, true);
}

void
plinth_claims_require_monitor(const char *subject)
{
	if (!plinth_claims_is_service() &&
		!has_privs_of_role(GetUserId(), ROLE_PG_MONITOR) &&
		!plinth_admin_is_caller())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for the statistics of %s", subject),
				 errhint("Services, administrators and members of "
						 "\"pg_monitor\" may read them.")));
}

char *
plinth_claims_client_address(void)
{
	char *address = NULL;

	if (trust_forwarded_for && session_headers != NULL &&
		session_headers->forwarded_for != NULL && session_is_believed())
		address = forwarded_address(session_headers->forwarded_for);

	return address != NULL ? address : connection_address();
}

char *
plinth_claims_user_agent(void)
{
	if (session_headers == NULL || session_headers->user_agent == NULL ||
		!session_is_believed())
		return NULL;

	return pstrdup(session_headers->user_agent);
}

/*
 * Check hook of both settings that hold claims: parse them.
 */
static bool
check_claims(char **newval, void **extra, GucSource source)
{
	size_t length = strlen(*newval);
	ClaimsBlock *block;

	/* A default or an option is no caller's word (internals: other sources). */
	if (length == 0 || length > CLAIMS_MAX_SIZE || source != PGC_S_SESSION)
		return true;

	block = plinth_guc_malloc(CLAIMS_BLOCK_SIZE(length));
	if (block == NULL)
		return false;
	block->serial = next_serial++;
	if (!plinth_claims_scan(*newval, length, GetDatabaseEncoding() != PG_UTF8,
							block))
	{
		plinth_guc_free(block);
		return true;
	}
	*extra = block;

	return true;
}

static void
assign_claims(const char *newval, void *extra)
{
	replace_claims(&session_claims, extra);
}

static void
assign_verified(const char *newval, void *extra)
{
	replace_claims(&verified_claims, extra);
}

/*
 * Put other claims in force, and tell when they are not of the same user.
 */
static void
replace_claims(const ClaimsBlock **claims, const ClaimsBlock *next)
{
	const ClaimsBlock *last = *claims;
	bool had_user = last != NULL && last->identity.has_user;
	bool has_user = next != NULL && next->identity.has_user;

	*claims = next;
	if (plinth_claims_user_changed != NULL &&
		(had_user != has_user ||
		 (has_user && memcmp(&last->identity.user_id, &next->identity.user_id,
							 UUID_LEN) != 0)))
		plinth_claims_user_changed();
}

/*
 * Check hook of request.headers: keep the two headers that matter.
 */
static bool
check_headers(char **newval, void **extra, GucSource source)
{
	size_t length = strlen(*newval);
	HeadersBlock *block;
	char *room;
	size_t position = 0;
	JsonSlice object;
	JsonSlice name;
	JsonSlice value;

	if (length == 0 || length > HEADERS_MAX_SIZE || source != PGC_S_SESSION)
		return true;
	if (!plinth_json_check(*newval, length, GetDatabaseEncoding() != PG_UTF8,
						   NULL, &object) ||
		object.kind != JSON_OBJECT)
		return true;

	block = plinth_guc_malloc(offsetof(HeadersBlock, text) + length + 8);
	if (block == NULL)
		return false;
	block->forwarded_for = NULL;
	block->user_agent = NULL;
	room = block->text;
	while (plinth_json_next(&object, &position, &name, &value))
	{
		const char **field;

		if (plinth_json_is(&name, "x-forwarded-for"))
			field = &block->forwarded_for;
		else if (plinth_json_is(&name, "user-agent"))
			field = &block->user_agent;
		else
			continue;
		if (value.kind != JSON_STRING)
			continue;
		*field = room;
		room += plinth_json_text(&value, room) + 1;
	}
	*extra = block;

	return true;
}

static void
assign_headers(const char *newval, void *extra)
{
	session_headers = extra;
}

/*
 * Check hook: a list of names.  Roles that do not exist are nobody's.
 */
static bool
check_trusted_roles(char **newval, void **extra, GucSource source)
{
	char *names = pstrdup(*newval);
	List *list;
	bool ok;

	ok = SplitIdentifierString(names, ',', &list);
	if (!ok)
		GUC_check_errdetail(
			"It must be a list of role names, separated by commas.");
	list_free(list);
	pfree(names);

	return ok;
}

static void
assign_trusted_roles(const char *newval, void *extra)
{
	believed_known = false;
}

/*
 * Are claims and headers that this session states believed?
 */
static bool
session_is_believed(void)
{
	Oid user = GetSessionUserId();

	if (!believed_known || user != believed_user)
	{
		/* known before the look-up, so that a change meanwhile undoes it */
		believed_known = true;
		believed_user = InvalidOid;
		believed = find_believed(user);
		believed_user = user;
	}

	return believed;
}

static bool
find_believed(Oid user)
{
	char *names;
	List *list;
	ListCell *cell;
	bool found = false;

	if (!watching_roles)
	{
		CacheRegisterSyscacheCallback(AUTHOID, forget_believed, (Datum) 0);
		watching_roles = true;
	}

	if (superuser_arg(user))
		return true;

	names = pstrdup(trusted_roles);
	if (SplitIdentifierString(names, ',', &list))
		foreach (cell, list)
			if (get_role_oid(lfirst(cell), true) == user)
				found = true;
	list_free(list);
	pfree(names);

	return found;
}

static void
forget_believed(Datum arg, int cacheid, uint32 hashvalue)
{
	believed_known = false;
}

/*
 * The first address of an x-forwarded-for header, without a port, or NULL
 * when it is none.
 */
static char *
forwarded_address(const char *header)
{
	char address[INET6_ADDRSTRLEN];
	unsigned char binary[sizeof(struct in6_addr)];
	const char *start = header + strspn(header, " \t");
	size_t length;

	if (*start == '[')
	{
		start++;
		length = strcspn(start, "]");
		if (start[length] != ']')
			return NULL;
	}
	else
	{
		length = strcspn(start, ", \t");
		/* one colon is before a port; more are an IPv6 address */
		if (strcspn(start, ":") < length &&
			memchr(start + strcspn(start, ":") + 1, ':',
				   length - strcspn(start, ":") - 1) == NULL)
			length = strcspn(start, ":");
	}
	if (length >= sizeof(address))
		return NULL;
	memcpy(address, start, length);
	address[length] = '\0';

	if (inet_pton(AF_INET, address, binary) != 1 &&
		inet_pton(AF_INET6, address, binary) != 1)
		return NULL;

	return pstrdup(address);
}

/*
 * The address at the other end of the connection, or NULL for a local socket
 * and for a process without a client.
 */
static char *
connection_address(void)
{
	LOCAL_FCINFO(fcinfo, 0);
	Datum address;

	/* as DirectFunctionCall, which does not allow for a NULL */
	InitFunctionCallInfoData(*fcinfo, NULL, 0, InvalidOid, NULL, NULL);
	address = inet_client_addr(fcinfo);
	if (fcinfo->isnull)
		return NULL;

	return TextDatumGetCString(DirectFunctionCall1(network_host, address));
}

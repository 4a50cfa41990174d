/*-------------------------------------------------------------------------
 *
 * claims_internal.h
 *		What the files of the claims room share with each other only.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PLINTH_CLAIMS_INTERNAL_H
#define PLINTH_CLAIMS_INTERNAL_H

#include "base/json_scan.h"
#include "claims/claims.h"

/* A set of claims is not longer than this, in bytes. */
#define CLAIMS_MAX_SIZE (1024 * 1024)

/*
 * A parsed set of claims in one flat block: strings of the identity point
 * into the text behind it.
 */
typedef struct ClaimsBlock
{
	ClaimsIdentity identity;
	uint64 serial; /* told apart from every other block of this process */
	char text[FLEXIBLE_ARRAY_MEMBER];
} ClaimsBlock;

/* Bytes of the block for a text of that length. */
#define CLAIMS_BLOCK_SIZE(length) \
	(offsetof(ClaimsBlock, text) + 2 * (length) + 8)

/* Seconds of Unix time that a claim may name: up to the end of year 9999. */
#define CLAIMS_MAX_TIME 253402300799.0

/* claims_scan.c: pure */

/*
 * Parse claims into a block with room for CLAIMS_BLOCK_SIZE(length).  Returns
 * false when the text is not one JSON object, or its exp is not a time.
 */
extern bool plinth_claims_scan(const char *json, size_t length, bool ascii,
							   ClaimsBlock *block);

/* Read a uuid in its canonical form (RFC 4122), either letter case. */
extern bool plinth_claims_uuid(const JsonSlice *value, pg_uuid_t *uuid);

/* Read a time in seconds since 1970, fractions allowed. */
extern bool plinth_claims_time(const JsonSlice *value, double *seconds);

/* claims_session.c */

/* The claims that count, with their serial number; NULL when anonymous. */
extern const ClaimsBlock *plinth_claims_current_block(void);

/* claims_rules.c: the settings plinth.jwt_*, see spec/plinth.md */
extern char *plinth_claims_jwt_issuer;
extern char *plinth_claims_jwt_audience;
extern char *plinth_claims_jwt_typ;
extern int plinth_claims_jwt_leeway;   /* seconds */
extern int plinth_claims_jwt_max_size; /* bytes */

extern void plinth_claims_define_rules(void);

/*
 * May a token name this role: is it on the list of plinth.jwt_roles, there,
 * and no wider than a token may make its bearer (S1.10)?
 */
extern bool plinth_claims_role_allowed(const char *role);

#endif /* PLINTH_CLAIMS_INTERNAL_H */

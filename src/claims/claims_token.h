/*-------------------------------------------------------------------------
 *
 * claims_token.h
 *		A token to its claims, or the reason why not.  Pure.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PLINTH_CLAIMS_TOKEN_H
#define PLINTH_CLAIMS_TOKEN_H

#include "claims/claims_internal.h"
#include "secrets/secrets.h"

/* Why a token is refused.  For the server's log; callers are told nothing. */
typedef enum TokenCause
{
	TOKEN_GOOD,
	TOKEN_TOO_LONG,
	TOKEN_FORM,
	TOKEN_HEADER,
	TOKEN_HEADER_FEATURE,
	TOKEN_TYPE,
	TOKEN_KEY,
	TOKEN_ALGORITHM,
	TOKEN_SIGNATURE,
	TOKEN_PAYLOAD,
	TOKEN_EXPIRY,
	TOKEN_EXPIRED,
	TOKEN_NOT_BEFORE,
	TOKEN_NOT_YET,
	TOKEN_ISSUED_AT,
	TOKEN_ISSUER,
	TOKEN_AUDIENCE,
	TOKEN_SUBJECT,
	TOKEN_NO_ROLE,
	TOKEN_ROLE,
	TOKEN_SESSION
} TokenCause;

/* What is asked of a token besides its signature. */
typedef struct TokenRules
{
	const char *typ;	  /* type accepted besides JWT, in either letter case */
	const char *issuer;	  /* empty: any */
	const char *audience; /* empty: any */
	double leeway;		  /* seconds that clocks may differ */
	double now;			  /* seconds since 1970 */
	bool ascii;			  /* refuse what is beyond ASCII */
} TokenRules;

/* A token split and its header read; slices lead into the scratch memory. */
typedef struct TokenParts
{
	const char *text;	/* the token: what is signed starts here */
	size_t signed_size; /* and is so many bytes */
	const char *payload_text;
	size_t payload_text_size;
	uint8 signature[SECRETS_SIGNATURE_SIZE];
	size_t signature_size;
	JsonSlice header;
	JsonSlice alg;
	bool has_kid;
	JsonSlice kid;
} TokenParts;

/* What a good token says; texts are in the scratch memory. */
typedef struct TokenClaims
{
	const char *json; /* the payload, zero-terminated */
	size_t json_size;
	const char *role;
	bool names_session;	  /* there is a session_id, whatever it is */
	bool has_session;	  /* and it is a uuid */
	pg_uuid_t session_id; /* that one */
} TokenClaims;

/* Scratch memory for a token of that length; aligned as palloc() does. */
#define TOKEN_SCRATCH_SIZE(length) \
	(JSON_SCAN_NAMES(length) * sizeof(JsonName) + 2 * (length) + 64)

/*
 * Split a token, which must be a compact JWS and nothing else, and read its
 * header.  Its signature is not looked at.
 */
extern TokenCause plinth_claims_token_split(const char *token, size_t length,
											bool ascii, char *scratch,
											TokenParts *parts);

/*
 * Is the algorithm of the header that of the key, and the signature right?
 */
extern TokenCause plinth_claims_token_signature(const TokenParts *parts,
												const SecretsKey *key);

/*
 * Check a token whole: form, header, key, signature, then claims, in this
 * order; only whether its role may be named is left to the caller.
 */
extern TokenCause plinth_claims_token_check(const char *token, size_t length,
											const SecretsRing *ring,
											const TokenRules *rules,
											char *scratch, TokenClaims *claims);

/* The cause in words, for the server's log. */
extern const char *plinth_claims_token_cause(TokenCause cause);

/* The name that tokens have for an algorithm (RFC 7518, RFC 8037). */
extern const char *plinth_claims_token_alg(SecretsAlgorithm algorithm);

#endif /* PLINTH_CLAIMS_TOKEN_H */

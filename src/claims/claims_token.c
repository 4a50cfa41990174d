/*-------------------------------------------------------------------------
 *
 * claims_token.c
 *		A token to its claims, or the reason why not.  Pure.
 *
 * Tokens are JSON Web Tokens (RFC 7519) in the compact form of RFC 7515, read
 * by the advice of RFC 8725: the key decides the algorithm, the header does
 * not choose keys but by their id, what is not understood is refused, and no
 * claim is read before the signature holds.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "claims/claims_token.h"

#include "base/bytes.h"
#include "base/names.h"

/* Bytes of the JSON of the longest key id, all of it escaped. */
#define KID_JSON_SIZE (2 + 6 * (SECRETS_KID_SIZE - 1))

static TokenCause check_header(const JsonSlice *header, TokenParts *parts);
static bool check_typ(const JsonSlice *header, const char *accepted);
static const SecretsKey *choose_key(const TokenParts *parts,
									const SecretsRing *ring, double now);
static TokenCause check_times(const JsonSlice *claims, const TokenRules *rules);
static bool check_issuer(const JsonSlice *claims, const char *issuer);
static bool check_audience(const JsonSlice *claims, const char *audience);
static TokenCause check_subject(const JsonSlice *object, char *room,
								TokenClaims *claims);
static JsonName *scratch_names(char *scratch);
static char *scratch_text(char *scratch, size_t token_length);

TokenCause
plinth_claims_token_split(const char *token, size_t length, bool ascii,
						  char *scratch, TokenParts *parts)
{
	const char *end = token + length;
	const char *first = memchr(token, '.', length);
	const char *second;
	const char *signature;
	char *header = scratch_text(scratch, length);
	size_t size;

	if (first == NULL)
		return TOKEN_FORM;
	second = memchr(first + 1, '.', end - (first + 1));
	if (second == NULL)
		return TOKEN_FORM;
	signature = second + 1;
	if (first == token || second == first + 1 || signature == end ||
		memchr(signature, '.', end - signature) != NULL)
		return TOKEN_FORM;

	parts->text = token;
	parts->signed_size = second - token;
	parts->payload_text = first + 1;
	parts->payload_text_size = second - (first + 1);

	if (PLINTH_BASE64URL_BYTES((size_t) (end - signature)) >
			sizeof(parts->signature) ||
		!plinth_bytes_from_base64url(signature, end - signature,
									 parts->signature, &parts->signature_size) ||
		!plinth_bytes_from_base64url(token, first - token, header, &size))
		return TOKEN_FORM;

	if (!plinth_json_check(header, size, ascii, scratch_names(scratch),
						   &parts->header) ||
		parts->header.kind != JSON_OBJECT)
		return TOKEN_HEADER;

	return check_header(&parts->header, parts);
}

TokenCause
plinth_claims_token_signature(const TokenParts *parts, const SecretsKey *key)
{
	const char *alg = plinth_claims_token_alg(key->algorithm);

	if (alg == NULL || !plinth_json_is(&parts->alg, alg))
		return TOKEN_ALGORITHM;
	if (!plinth_secrets_verify(key, parts->text, parts->signed_size,
							   parts->signature, parts->signature_size))
		return TOKEN_SIGNATURE;

	return TOKEN_GOOD;
}

TokenCause
plinth_claims_token_check(const char *token, size_t length,
						  const SecretsRing *ring, const TokenRules *rules,
						  char *scratch, TokenClaims *claims)
{
	char *payload = scratch_text(scratch, length);
	TokenParts parts;
	TokenCause cause;
	const SecretsKey *key;
	JsonSlice object;
	size_t size;

	cause =
		plinth_claims_token_split(token, length, rules->ascii, scratch, &parts);
	if (cause != TOKEN_GOOD)
		return cause;
	if (!check_typ(&parts.header, rules->typ))
		return TOKEN_TYPE;
	key = choose_key(&parts, ring, rules->now);
	if (key == NULL)
		return TOKEN_KEY;
	cause = plinth_claims_token_signature(&parts, key);
	if (cause != TOKEN_GOOD)
		return cause;

	/* from here on the token is somebody's whose key we know */
	if (!plinth_bytes_from_base64url(parts.payload_text,
									 parts.payload_text_size, payload, &size))
		return TOKEN_FORM;
	payload[size] = '\0';
	if (!plinth_json_check(payload, size, rules->ascii, scratch_names(scratch),
						   &object) ||
		object.kind != JSON_OBJECT)
		return TOKEN_PAYLOAD;

	cause = check_times(&object, rules);
	if (cause != TOKEN_GOOD)
		return cause;
	if (!check_issuer(&object, rules->issuer))
		return TOKEN_ISSUER;
	if (!check_audience(&object, rules->audience))
		return TOKEN_AUDIENCE;

	memset(claims, 0, sizeof(*claims));
	claims->json = payload;
	claims->json_size = size;

	return check_subject(&object, payload + size + 1, claims);
}

const char *
plinth_claims_token_cause(TokenCause cause)
{
	switch (cause)
	{
		case TOKEN_GOOD:
			return "nothing is wrong";
		case TOKEN_TOO_LONG:
			return "longer than plinth.jwt_max_size";
		case TOKEN_FORM:
			return "not three parts of base64url";
		case TOKEN_HEADER:
			return "the header is not one JSON object as it must be";
		case TOKEN_HEADER_FEATURE:
			return "the header asks for crit, b64, zip, cty or enc";
		case TOKEN_TYPE:
			return "typ is neither JWT nor plinth.jwt_typ";
		case TOKEN_KEY:
			return "no key for its kid and alg";
		case TOKEN_ALGORITHM:
			return "alg is not that of the key";
		case TOKEN_SIGNATURE:
			return "the signature is wrong";
		case TOKEN_PAYLOAD:
			return "the payload is not one JSON object as it must be";
		case TOKEN_EXPIRY:
			return "exp is missing or no time";
		case TOKEN_EXPIRED:
			return "expired";
		case TOKEN_NOT_BEFORE:
			return "nbf is no time";
		case TOKEN_NOT_YET:
			return "not valid yet";
		case TOKEN_ISSUED_AT:
			return "iat is no time";
		case TOKEN_ISSUER:
			return "iss is not plinth.jwt_issuer";
		case TOKEN_AUDIENCE:
			return "aud does not name plinth.jwt_audience";
		case TOKEN_SUBJECT:
			return "sub is not a uuid";
		case TOKEN_NO_ROLE:
			return "role is missing or no string";
		case TOKEN_ROLE:
			return "role is not one that a token may name";
		case TOKEN_SESSION:
			return "the session has ended";
	}

	return "unknown";
}

const char *
plinth_claims_token_alg(SecretsAlgorithm algorithm)
{
	switch (algorithm)
	{
		case SECRETS_HS256:
			return "HS256";
		case SECRETS_ED25519:
			return "EdDSA";
		case SECRETS_XCHACHA20:
		case SECRETS_HMAC:
			break;
	}

	return NULL;
}

/*
 * Look through the header.  jwk, jku, x5u and x5c are names like any other
 * that is not known: they never lead to a key.
 */
static TokenCause
check_header(const JsonSlice *header, TokenParts *parts)
{
	static const char *const features[] = {"crit", "b64", "zip", "cty", "enc"};
	JsonSlice value;

	for (size_t i = 0; i < lengthof(features); i++)
		if (plinth_json_member(header, features[i], &value))
			return TOKEN_HEADER_FEATURE;

	if (!plinth_json_member(header, "alg", &parts->alg) ||
		parts->alg.kind != JSON_STRING)
		return TOKEN_HEADER;

	parts->has_kid = plinth_json_member(header, "kid", &parts->kid);
	if (parts->has_kid && parts->kid.kind != JSON_STRING)
		return TOKEN_HEADER;

	return TOKEN_GOOD;
}

/*
 * Is typ absent, JWT or the accepted one?  Media types know no letter case.
 */
static bool
check_typ(const JsonSlice *header, const char *accepted)
{
	char text[128];
	JsonSlice value;

	if (!plinth_json_member(header, "typ", &value))
		return true;
	if (value.kind != JSON_STRING || value.length > sizeof(text))
		return false;
	if (plinth_json_text(&value, text) != strlen(text))
		return false;

	return pg_strcasecmp(text, "JWT") == 0 ||
		   (accepted[0] != '\0' && pg_strcasecmp(text, accepted) == 0);
}

/*
 * The key that the header names, unless it has been retired for so long that
 * its last token has expired; without a name the active one of the algorithm,
 * if there is but one.
 */
static const SecretsKey *
choose_key(const TokenParts *parts, const SecretsRing *ring, double now)
{
	if (parts->has_kid)
	{
		char kid[KID_JSON_SIZE];
		const SecretsKey *key;

		if (parts->kid.length > sizeof(kid))
			return NULL;
		key = plinth_secrets_find(ring, SECRETS_TOKEN, kid,
								  plinth_json_text(&parts->kid, kid));
		return key != NULL && plinth_secrets_lapsed(key, now) ? NULL : key;
	}

	for (int i = 0; i < SECRETS_ALGORITHMS; i++)
	{
		const char *alg = plinth_claims_token_alg(i);

		if (alg != NULL && plinth_json_is(&parts->alg, alg))
			return plinth_secrets_active(ring, SECRETS_TOKEN, i);
	}

	return NULL;
}

/*
 * exp must be there; nbf and iat must be times if they are.
 */
static TokenCause
check_times(const JsonSlice *claims, const TokenRules *rules)
{
	JsonSlice value;
	double seconds;

	if (!plinth_json_member(claims, "exp", &value) ||
		!plinth_claims_time(&value, &seconds))
		return TOKEN_EXPIRY;
	if (seconds + rules->leeway <= rules->now)
		return TOKEN_EXPIRED;

	if (plinth_json_member(claims, "nbf", &value))
	{
		if (!plinth_claims_time(&value, &seconds))
			return TOKEN_NOT_BEFORE;
		if (seconds > rules->now + rules->leeway)
			return TOKEN_NOT_YET;
	}

	if (plinth_json_member(claims, "iat", &value) &&
		!plinth_claims_time(&value, &seconds))
		return TOKEN_ISSUED_AT;

	return TOKEN_GOOD;
}

static bool
check_issuer(const JsonSlice *claims, const char *issuer)
{
	JsonSlice value;

	return issuer[0] == '\0' || (plinth_json_member(claims, "iss", &value) &&
								 plinth_json_is(&value, issuer));
}

/*
 * aud is one name, or a list of names of which ours is one.
 */
static bool
check_audience(const JsonSlice *claims, const char *audience)
{
	JsonSlice value;
	JsonSlice element;
	size_t position = 0;
	bool named = false;

	if (audience[0] == '\0')
		return true;
	if (!plinth_json_member(claims, "aud", &value))
		return false;
	if (value.kind != JSON_ARRAY)
		return plinth_json_is(&value, audience);

	while (plinth_json_next(&value, &position, NULL, &element))
	{
		if (element.kind != JSON_STRING)
			return false;
		if (plinth_json_is(&element, audience))
			named = true;
	}

	return named;
}

/*
 * Whoever is not anonymous is a user, and users are known by a uuid.
 */
static TokenCause
check_subject(const JsonSlice *object, char *room, TokenClaims *claims)
{
	JsonSlice value;
	pg_uuid_t user_id;

	if (!plinth_json_member(object, "role", &value) || value.kind != JSON_STRING)
		return TOKEN_NO_ROLE;
	/* a zero byte in a name cannot be: \u0000 is refused */
	plinth_json_text(&value, room);
	claims->role = room;

	if (plinth_json_member(object, "sub", &value)
			? !plinth_claims_uuid(&value, &user_id)
			: strcmp(claims->role, PLINTH_ANON_ROLE) != 0)
		return TOKEN_SUBJECT;

	claims->names_session = plinth_json_member(object, "session_id", &value);
	claims->has_session = claims->names_session &&
						  plinth_claims_uuid(&value, &claims->session_id);

	return TOKEN_GOOD;
}

/*
 * The scratch memory: names of one check of JSON, then decoded text.
 */
static JsonName *
scratch_names(char *scratch)
{
	return (JsonName *) scratch;
}

static char *
scratch_text(char *scratch, size_t token_length)
{
	return scratch + JSON_SCAN_NAMES(token_length) * sizeof(JsonName);
}

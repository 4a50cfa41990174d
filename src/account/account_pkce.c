/*-------------------------------------------------------------------------
 *
 * account_pkce.c
 *		Is who ends a sign-in who began it?
 *
 * Proof Key for Code Exchange, RFC 7636, with the method S256 alone: "plain"
 * proves nothing to who has seen the first request.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "account/account.h"

#include <sodium.h>

#include "fmgr.h"

#include "base/bytes.h"
#include "base/compat.h"

/* Characters of a verifier (RFC 7636 section 4.1). */
#define VERIFIER_MIN 43
#define VERIFIER_MAX 128

/* Characters of a challenge: base64url of a SHA-256. */
#define CHALLENGE_SIZE PLINTH_BASE64URL_SIZE(crypto_hash_sha256_BYTES)

static bool is_verifier(const char *text, size_t length);

/*
 * plinth.auth_pkce_verify(challenge text, verifier text) -> boolean
 *
 * Is the challenge made of this verifier?  How long the comparison takes
 * tells nothing about where the two differ.
 */
PG_FUNCTION_INFO_V1(plinth_sql_account_pkce_verify);
Datum
plinth_sql_account_pkce_verify(PG_FUNCTION_ARGS)
{
	text *challenge;
	text *verifier;
	uint8 hash[crypto_hash_sha256_BYTES];
	char made[CHALLENGE_SIZE + 1];

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		PG_RETURN_BOOL(false);

	challenge = PG_GETARG_TEXT_PP(0);
	verifier = PG_GETARG_TEXT_PP(1);
	if (VARSIZE_ANY_EXHDR(challenge) != CHALLENGE_SIZE ||
		!is_verifier(VARDATA_ANY(verifier), VARSIZE_ANY_EXHDR(verifier)))
		PG_RETURN_BOOL(false);

	crypto_hash_sha256(hash, (const unsigned char *) VARDATA_ANY(verifier),
					   VARSIZE_ANY_EXHDR(verifier));
	plinth_bytes_to_base64url(hash, sizeof(hash), made);

	PG_RETURN_BOOL(
		plinth_bytes_equal(made, VARDATA_ANY(challenge), CHALLENGE_SIZE));
}

/*
 * Has the text the form of a verifier: unreserved characters of RFC 3986?
 */
static bool
is_verifier(const char *text, size_t length)
{
	if (length < VERIFIER_MIN || length > VERIFIER_MAX)
		return false;
	for (size_t i = 0; i < length; i++)
	{
		char c = text[i];

		if (!((c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
			  (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_' ||
			  c == '~'))
			return false;
	}

	return true;
}

/*-------------------------------------------------------------------------
 *
 * secrets_publish.c
 *		Public keys for others, as a JSON Web Key set (RFC 7517, RFC 8037).
 *
 * Only what verifies now is in it: no symmetric key, nothing revoked, and no
 * token key that has been retired for longer than its tokens live.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "secrets/secrets_internal.h"

#include <time.h>

#include "base/bytes.h"
#include "base/json_out.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"

static bool is_published(const SecretsKey *key, SecretsPurpose purpose);

Datum
plinth_secrets_publish(SecretsPurpose purpose)
{
	const SecretsRing *ring = plinth_secrets_ring();
	StringInfoData set;

	initStringInfo(&set);
	appendStringInfoString(&set, "{\"keys\":[");
	for (int i = 0; i < ring->count; i++)
	{
		const SecretsKey *key = &ring->keys[i];
		char x[PLINTH_BASE64URL_SIZE(sizeof(key->public_key)) + 1];

		if (!is_published(key, purpose))
			continue;
		plinth_bytes_to_base64url(key->public_key, sizeof(key->public_key), x);
		plinth_json_comma(&set);
		appendStringInfoString(
			&set, "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"use\":\"sig\","
				  "\"alg\":\"EdDSA\",\"kid\":");
		plinth_json_string(&set, key->kid, strlen(key->kid));
		appendStringInfo(&set, ",\"x\":\"%s\"}", x);
	}
	appendStringInfoString(&set, "]}");

	return DirectFunctionCall1(jsonb_in, CStringGetDatum(set.data));
}

/*
 * plinth.auth_jwks() -> jsonb
 *
 * The keys that verify tokens, as a JWK set.  HS256 keys are secret and left
 * out.
 *
 * Errors: 55000 no keyring.
 */
PG_FUNCTION_INFO_V1(plinth_sql_secrets_auth_jwks);
Datum
plinth_sql_secrets_auth_jwks(PG_FUNCTION_ARGS)
{
	return plinth_secrets_publish(SECRETS_TOKEN);
}

static bool
is_published(const SecretsKey *key, SecretsPurpose purpose)
{
	return key->purpose == purpose && key->algorithm == SECRETS_ED25519 &&
		   key->state != SECRETS_REVOKED &&
		   !(purpose == SECRETS_TOKEN &&
			 plinth_secrets_lapsed(key, (double) time(NULL)));
}

/*-------------------------------------------------------------------------
 *
 * secrets_funcs.c
 *		The keyring as SQL sees it: what keys there are, never the keys.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "secrets/secrets_internal.h"

#include <sodium.h>

#include "base/bytes.h"
#include "base/compat.h"
#include "fmgr.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

#define KEYS_COLUMNS 6

static const char *read_set(const char *text, size_t length,
							SecretsPurpose purpose, SecretsRing *ring);
static SecretsPurpose purpose_argument(text *argument);
static int find_name(const char *name, const char *const *names, int count);
static SecretsAlgorithm usual_algorithm(SecretsPurpose purpose);
static void check_superuser(const char *what);

/*
 * plinth.keys() -> setof (key_id, kid, purpose, algorithm, state, created_at)
 *
 * Errors: 55000 no keyring.
 */
PG_FUNCTION_INFO_V1(plinth_sql_secrets_keys);
Datum
plinth_sql_secrets_keys(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	const SecretsRing *ring = plinth_secrets_ring();

	InitMaterializedSRF(fcinfo, 0);
	for (int i = 0; i < ring->count; i++)
	{
		const SecretsKey *key = &ring->keys[i];
		Datum values[KEYS_COLUMNS];
		bool nulls[KEYS_COLUMNS] = {false};

		values[0] = Int16GetDatum(key->key_id);
		values[1] = CStringGetTextDatum(key->kid);
		values[2] = CStringGetTextDatum(plinth_secrets_purposes[key->purpose]);
		values[3] =
			CStringGetTextDatum(plinth_secrets_algorithms[key->algorithm]);
		values[4] = CStringGetTextDatum(plinth_secrets_states[key->state]);
		values[5] = TimestampTzGetDatum(
			time_t_to_timestamptz((pg_time_t) key->created_at));
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}

	return (Datum) 0;
}

/*
 * plinth.key_import(jwks jsonb, purpose text) -> integer
 *
 * Add the public and symmetric keys of a JWK set to the keyring; they verify
 * only.  Returns how many were not there before.
 *
 *	jwks	object with an array "keys" (RFC 7517), 1 to 100 of them
 *	purpose	token, audit or certificate
 *
 * Errors: 42501 the caller is no superuser; 22023 a key is not acceptable;
 * 42710 an id stands for another key; 55000 no keyring.
 *
 * Not transactional: ROLLBACK does not take the keys back.
 */
PG_FUNCTION_INFO_V1(plinth_sql_secrets_key_import);
Datum
plinth_sql_secrets_key_import(PG_FUNCTION_ARGS)
{
	Jsonb *jwks = PG_GETARG_JSONB_P(0);
	SecretsPurpose purpose = purpose_argument(PG_GETARG_TEXT_PP(1));
	SecretsRing *ring;
	const char *problem;
	char *text;
	size_t length;
	int count = 0;

	check_superuser("import keys");

	text = JsonbToCString(NULL, &jwks->root, VARSIZE(jwks));
	length = strlen(text);
	if ((Pointer) jwks != DatumGetPointer(PG_GETARG_DATUM(0)))
		plinth_bytes_zero(jwks, VARSIZE(jwks));

	ring = plinth_secrets_alloc(SECRETS_MAX_IMPORT);
	problem = ring == NULL ? "There is no memory for the keys."
						   : read_set(text, length, purpose, ring);
	plinth_bytes_zero(text, length);
	if (problem != NULL && ring != NULL)
		sodium_free(ring);
	if (problem != NULL)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("invalid set of JSON Web Keys"),
						errdetail_internal("%s", problem)));

	PG_TRY();
	{
		count = plinth_secrets_add(ring);
	}
	PG_FINALLY();
	{
		sodium_free(ring);
	}
	PG_END_TRY();

	PG_RETURN_INT32(count);
}

/*
 * plinth.key_create(purpose text, algorithm text) -> text
 *
 * Make a new active key and return its kid; the active one of its purpose and
 * algorithm retires.
 *
 *	purpose		token, seal, audit, certificate or url
 *	algorithm	one that suits it; NULL: Ed25519 for tokens, else the only one
 *
 * Errors: 42501 the caller is no superuser; 22023 there is no such purpose, or
 * the algorithm does not suit it; 55000 no keyring.
 *
 * Not transactional: ROLLBACK does not take the key back.
 */
PG_FUNCTION_INFO_V1(plinth_sql_secrets_key_create);
Datum
plinth_sql_secrets_key_create(PG_FUNCTION_ARGS)
{
	char kid[SECRETS_KID_SIZE];

	plinth_secrets_create_named(
		PG_ARGISNULL(0) ? "" : text_to_cstring(PG_GETARG_TEXT_PP(0)),
		PG_ARGISNULL(1) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(1)), kid);

	PG_RETURN_TEXT_P(cstring_to_text(kid));
}

void
plinth_secrets_create_named(const char *purpose_name,
							const char *algorithm_name, char *kid)
{
	int purpose =
		find_name(purpose_name, plinth_secrets_purposes, SECRETS_PURPOSES);
	int algorithm;

	check_superuser("create keys");
	if (purpose < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid purpose of a key \"%s\"", purpose_name),
				 errdetail("It is token, seal, audit, certificate or url.")));

	if (algorithm_name == NULL)
		algorithm = usual_algorithm(purpose);
	else
		algorithm = find_name(algorithm_name, plinth_secrets_algorithms,
							  SECRETS_ALGORITHMS);
	if (algorithm < 0 || !plinth_secrets_suits(purpose, algorithm))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("invalid algorithm \"%s\" for a key of purpose %s",
							   algorithm_name, purpose_name)));
	plinth_secrets_create(purpose, algorithm, kid);
}

/*
 * plinth.key_set_state(kid text, state text) -> void
 *
 * Retire or revoke a key, in every backend from its next use on.
 *
 *	kid		a key of plinth.keys
 *	state	retired or revoked; nothing makes a key active again
 *
 * Errors: 42501 the caller is no superuser; 22023 no such key or state; 55000
 * the key is the last active one of its purpose and cannot retire, is revoked
 * and cannot retire, or is a seal key under which a declared column has values
 * and cannot be revoked; 55000 no keyring.
 *
 * Not transactional: ROLLBACK does not put the state back.
 */
PG_FUNCTION_INFO_V1(plinth_sql_secrets_key_set_state);
Datum
plinth_sql_secrets_key_set_state(PG_FUNCTION_ARGS)
{
	char *kid = text_to_cstring(PG_GETARG_TEXT_PP(0));
	char *name = text_to_cstring(PG_GETARG_TEXT_PP(1));
	int state = find_name(name, plinth_secrets_states, SECRETS_STATES);
	const SecretsKey *key;

	check_superuser("change keys");
	if (state != SECRETS_RETIRED && state != SECRETS_REVOKED)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("invalid state of a key \"%s\"", name),
						errdetail("A key can be set to retired or revoked.")));

	key = plinth_secrets_find(plinth_secrets_ring(), SECRETS_SEAL, kid,
							  strlen(kid));
	if (key != NULL && state == SECRETS_REVOKED)
		plinth_secrets_require_unused(key->key_id);
	plinth_secrets_set_state(kid, state);

	PG_RETURN_VOID();
}

/*
 * Read a JWK set; returns NULL or what is wrong with it.
 */
static const char *
read_set(const char *text, size_t length, SecretsPurpose purpose,
		 SecretsRing *ring)
{
	JsonSlice set;
	JsonSlice keys;
	JsonSlice jwk;
	size_t position = 0;
	const char *problem;

	if (!plinth_json_check(text, length, GetDatabaseEncoding() != PG_UTF8, NULL,
						   &set) ||
		set.kind != JSON_OBJECT || !plinth_json_member(&set, "keys", &keys) ||
		keys.kind != JSON_ARRAY)
		return "It must be an object with an array \"keys\".";

	while (plinth_json_next(&keys, &position, NULL, &jwk))
	{
		SecretsKey *key = &ring->keys[ring->count];

		if (ring->count == SECRETS_MAX_IMPORT)
			return "It has too many keys.";
		problem = plinth_secrets_read_jwk(&jwk, key);
		if (problem != NULL)
			return problem;
		key->purpose = purpose;
		if (!plinth_secrets_suits(purpose, key->algorithm))
			return "A key of this algorithm cannot serve this purpose.";
		ring->count++;
	}

	return ring->count == 0 ? "It has no keys." : NULL;
}

/*
 * The purposes for which keys of others are known: those that verify.
 */
static SecretsPurpose
purpose_argument(text *argument)
{
	char *name = text_to_cstring(argument);

	for (int i = 0; i < SECRETS_PURPOSES; i++)
		if (strcmp(name, plinth_secrets_purposes[i]) == 0 &&
			i != SECRETS_SEAL && i != SECRETS_URL)
			return i;

	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid purpose of a key \"%s\"", name),
			 errdetail("Keys are imported for token, audit or certificate.")));
}

/*
 * Place of a name in a list, or -1.
 */
static int
find_name(const char *name, const char *const *names, int count)
{
	for (int i = 0; i < count; i++)
		if (strcmp(name, names[i]) == 0)
			return i;

	return -1;
}

/*
 * The algorithm of a new key where none is asked for.
 */
static SecretsAlgorithm
usual_algorithm(SecretsPurpose purpose)
{
	if (plinth_secrets_suits(purpose, SECRETS_ED25519))
		return SECRETS_ED25519;

	return purpose == SECRETS_SEAL ? SECRETS_XCHACHA20 : SECRETS_HMAC;
}

static void
check_superuser(const char *what)
{
	if (!superuser())
		ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
						errmsg("permission denied to %s", what),
						errdetail("Only superusers may.")));
}

/*-------------------------------------------------------------------------
 *
 * certificate_sign.c
 *		A certificate's body as a signed text, and back.
 *
 * The form is a compact JWS (RFC 7515) with Ed25519 (RFC 8037), whose header
 * has one spelling for each key:
 *
 *		{"alg":"EdDSA","kid":"...","typ":"plinth-certificate+jws"}
 *
 * So a text is compared with the headers of the keys that may have signed it,
 * and nothing of it is parsed before the signature holds.  Type and purpose
 * of the key keep certificates and access tokens apart (RFC 8725 section
 * 3.11): neither is ever taken for the other.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "certificate/certificate.h"

#include "access/detoast.h"
#include "base/bytes.h"
#include "base/compat.h"
#include "base/json_out.h"
#include "base/json_scan.h"
#include "base/names.h"
#include "catalog/namespace.h"
#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "secrets/secrets.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"

#define CERTIFICATE_TYPE "plinth-certificate+jws"

/* Bytes of the longest body, and of the longest text that can be signed. */
#define MAX_BODY (1024 * 1024)
#define MAX_SIGNED (PLINTH_BASE64URL_SIZE(MAX_BODY) + 4096)

/* Characters of a signature. */
#define SIGNATURE_TEXT_SIZE PLINTH_BASE64URL_SIZE(SECRETS_SIGNATURE_SIZE)

static bool is_certificate_key(const SecretsKey *key);
static char *header_of(const SecretsKey *key, size_t *length);
static bool signature_holds(const SecretsKey *key, const char *text,
							size_t header_size, size_t length,
							size_t *signed_size);
static Jsonb *read_body(const char *text, size_t length);
static char *to_server(char *json, size_t length);
static bool escapes_beyond_ascii(const char *json, size_t length);
static void append_base64url(StringInfo out, const void *bytes, size_t size);

/*
 * plinth.certificate_sign(body jsonb) -> text
 *
 * Sign what a certificate says with the active certificate key.
 *
 *	body	an object of at most 1 MB as UTF-8 text
 *
 * Errors: 22023 the body is missing, no object, or has what JSON readers
 * refuse; 54000 it is too long; 55000 no keyring, or no key that signs.
 *
 * Source: RFC 7515 section 7.1, RFC 8037 section 3.1.
 */
PG_FUNCTION_INFO_V1(plinth_sql_certificate_sign);
Datum
plinth_sql_certificate_sign(PG_FUNCTION_ARGS)
{
	uint8 signature[SECRETS_SIGNATURE_SIZE];
	size_t signature_size;
	const SecretsKey *key;
	StringInfoData out;
	JsonSlice object;
	Jsonb *body;
	char *header;
	size_t header_size;
	char *json;
	size_t length;

	if (PG_ARGISNULL(0))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("cannot sign a certificate without a body")));
	body = PG_GETARG_JSONB_P(0);
	if (!JB_ROOT_IS_OBJECT(body))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("cannot sign a certificate whose body is not an object")));

	json = JsonbToCString(NULL, &body->root, VARSIZE(body));
	json = pg_server_to_any(json, (int) strlen(json), PG_UTF8);
	length = strlen(json);
	if (length > MAX_BODY)
		ereport(ERROR, (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
						errmsg("body of a certificate is too long"),
						errdetail("It has %zu bytes; %d are the most.", length,
								  MAX_BODY)));
	if (!plinth_json_check(json, length, false, NULL, &object))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("cannot sign a body that readers refuse"),
				 errdetail("It nests more than %d deep, or has a number beyond "
						   "the limits.",
						   JSON_SCAN_DEPTH)));

	/* nothing below reads the keyring anew, so that key stays good */
	key = plinth_secrets_active(plinth_secrets_ring(), SECRETS_CERTIFICATE,
								SECRETS_ED25519);
	if (key == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("no key signs certificates"),
				 errdetail(
					 "The keyring has not one active key of purpose certificate."),
				 errhint(PLINTH_PREFLIGHT_HINT)));

	header = header_of(key, &header_size);
	initStringInfo(&out);
	appendBinaryStringInfo(&out, header, (int) header_size);
	append_base64url(&out, json, length);
	signature_size = plinth_secrets_sign(key, out.data, out.len, signature);
	if (signature_size != SECRETS_SIGNATURE_SIZE)
		elog(ERROR, "could not sign a certificate");
	appendStringInfoChar(&out, '.');
	append_base64url(&out, signature, signature_size);

	PG_RETURN_TEXT_P(cstring_to_text_with_len(out.data, out.len));
}

/*
 * plinth.certificate_verify(signed text) -> jsonb or NULL
 *
 * The body that plinth.certificate_sign() has signed with a key that is not
 * revoked; a key that has been retired still verifies.  NULL for any other
 * text, of whatever form and length.  What the body says, such as an end, is
 * not looked at.
 *
 * Errors: 55000 no keyring.
 */
PG_FUNCTION_INFO_V1(plinth_sql_certificate_verify);
Datum
plinth_sql_certificate_verify(PG_FUNCTION_ARGS)
{
	const SecretsRing *ring;
	text *argument;
	const char *string;
	size_t length;
	Jsonb *body;

	/* looked at before it is unpacked */
	if (toast_raw_datum_size(PG_GETARG_DATUM(0)) - VARHDRSZ > MAX_SIGNED)
		PG_RETURN_NULL();
	argument = PG_GETARG_TEXT_PP(0);
	string = VARDATA_ANY(argument);
	length = VARSIZE_ANY_EXHDR(argument);

	ring = plinth_secrets_ring();
	for (int i = 0; i < ring->count; i++)
	{
		const SecretsKey *key = &ring->keys[i];
		char *header;
		size_t header_size;
		size_t signed_size;

		if (!is_certificate_key(key))
			continue;
		header = header_of(key, &header_size);
		if (length <= header_size || memcmp(string, header, header_size) != 0)
			continue;
		if (!signature_holds(key, string, header_size, length, &signed_size))
			break;
		body = read_body(string + header_size, signed_size - header_size);
		if (body == NULL)
			break;
		PG_RETURN_JSONB_P(body);
	}

	PG_RETURN_NULL();
}

/*
 * plinth.certificate_keys() -> jsonb
 *
 * The public keys that verify certificates, as a JWK set (RFC 7517).
 *
 * Errors: 55000 no keyring.
 */
PG_FUNCTION_INFO_V1(plinth_sql_certificate_keys);
Datum
plinth_sql_certificate_keys(PG_FUNCTION_ARGS)
{
	return plinth_secrets_publish(SECRETS_CERTIFICATE);
}

static bool
is_certificate_key(const SecretsKey *key)
{
	return key->purpose == SECRETS_CERTIFICATE &&
		   key->algorithm == SECRETS_ED25519 && key->state != SECRETS_REVOKED;
}

/*
 * The first part of what that key signs, the dot after it included.
 */
static char *
header_of(const SecretsKey *key, size_t *length)
{
	StringInfoData json;
	StringInfoData header;

	initStringInfo(&json);
	appendStringInfoString(&json, "{\"alg\":\"EdDSA\",\"kid\":");
	plinth_json_string(&json, key->kid, strlen(key->kid));
	appendStringInfoString(&json, ",\"typ\":\"" CERTIFICATE_TYPE "\"}");

	initStringInfo(&header);
	append_base64url(&header, json.data, json.len);
	appendStringInfoChar(&header, '.');
	*length = header.len;

	return header.data;
}

/*
 * Does the text end in the key's signature of what is before it?  Sets the
 * size of that.
 */
static bool
signature_holds(const SecretsKey *key, const char *text, size_t header_size,
				size_t length, size_t *signed_size)
{
	uint8 signature[SECRETS_SIGNATURE_SIZE];
	size_t signature_size;

	if (length - header_size < SIGNATURE_TEXT_SIZE + 1)
		return false;
	*signed_size = length - SIGNATURE_TEXT_SIZE - 1;

	return text[*signed_size] == '.' &&
		   plinth_bytes_from_base64url(text + *signed_size + 1,
									   SIGNATURE_TEXT_SIZE, signature,
									   &signature_size) &&
		   plinth_secrets_verify(key, text, *signed_size, signature,
								 signature_size);
}

/*
 * The object in the second part of a signed text; NULL when it is none, or
 * when this database's encoding does not have its characters.
 */
static Jsonb *
read_body(const char *text, size_t length)
{
	char *json = palloc(PLINTH_BASE64URL_BYTES(length) + 1);
	JsonName *names;
	JsonSlice object;
	size_t size;

	if (!plinth_bytes_from_base64url(text, length, json, &size))
		return NULL;
	json[size] = '\0';

	names = palloc(JSON_SCAN_NAMES(size) * sizeof(JsonName));
	if (!plinth_json_check(json, size, false, names, &object) ||
		object.kind != JSON_OBJECT)
		return NULL;
	json = to_server(json, size);
	if (json == NULL)
		return NULL;

	return DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(json)));
}

/*
 * A checked text of JSON in this database's encoding; NULL when that lacks
 * one of its characters.
 */
static char *
to_server(char *json, size_t length)
{
	int encoding = GetDatabaseEncoding();
	Oid conversion;
	char *converted;

	if (encoding == PG_UTF8)
		return json;
	if (escapes_beyond_ascii(json, length))
		return NULL;
	if (encoding == PG_SQL_ASCII)
		return json;

	conversion = FindDefaultConversionProc(PG_UTF8, encoding);
	if (!OidIsValid(conversion))
		return NULL;
	converted = palloc(length * MAX_CONVERSION_GROWTH + 1);
	if (pg_do_encoding_conversion_buf(
			conversion, PG_UTF8, encoding, (unsigned char *) json, (int) length,
			(unsigned char *) converted,
			(int) (length * MAX_CONVERSION_GROWTH + 1), true) != (int) length)
		return NULL;

	return converted;
}

/*
 * Has a checked text an escape for a character beyond ASCII?  We write none,
 * and reading one would be an error where the encoding does not have it.
 */
static bool
escapes_beyond_ascii(const char *json, size_t length)
{
	for (size_t i = 0; i < length; i++)
	{
		if (json[i] != '\\')
			continue;
		i++; /* in a checked text, another character follows */
		if (json[i] == 'u' &&
			(json[i + 1] != '0' || json[i + 2] != '0' || json[i + 3] > '7'))
			return true;
	}

	return false;
}

static void
append_base64url(StringInfo out, const void *bytes, size_t size)
{
	enlargeStringInfo(out, (int) PLINTH_BASE64URL_SIZE(size) + 1);
	out->len +=
		(int) plinth_bytes_to_base64url(bytes, size, out->data + out->len);
}

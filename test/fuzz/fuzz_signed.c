/*-------------------------------------------------------------------------
 *
 * fuzz_signed.c
 *		Fuzz target: certificates as signed texts.
 *
 * The first byte of an input says what the rest is:
 *
 *		r	a text as somebody sends it: nobody has the key, so it is none
 *		b	what stands between header and signature, in base64url or not: it
 *			is signed, and read when it is the spelling of an object, and not
 *			with one bit changed
 *		e	as b, for a database whose encoding is not UTF-8
 *
 * The room's file is built into the target, with stand-ins for what it takes
 * from the server.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fuzz_keys.h"

#include "lib/stringinfo.h"

/* What a call would leave to its memory context, until the input is done. */
static void *kept[64];
static int kept_count = 0;

static inline void *
keep(void *memory)
{
	FUZZ_CHECK(memory != NULL && kept_count < (int) lengthof(kept));
	kept[kept_count++] = memory;

	return memory;
}

static inline void
init_kept(StringInfo string)
{
	initStringInfo(string);
	/* a header, which never grows beyond its first room */
	keep(string->data);
}

#define palloc(size) keep(malloc(size))
#define initStringInfo(string) init_kept(string)
#include "../../src/certificate/certificate_sign.c"
#undef initStringInfo
#undef palloc

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
static void sign_and_read(const char *body, size_t size);
static bool is_object(const char *text, size_t size);
static bool verifies(const char *bytes, size_t size);

/* As the key of tokens, but of certificates. */
static SecretsRing *certificate_ring = NULL;
static int database_encoding = PG_UTF8;

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (certificate_ring == NULL)
	{
		certificate_ring = calloc(1, SECRETS_RING_SIZE(1));
		FUZZ_CHECK(certificate_ring != NULL);
		certificate_ring->count = 1;
		certificate_ring->keys[0] = fuzz_ring()->keys[1];
		certificate_ring->keys[0].purpose = SECRETS_CERTIFICATE;
	}
	if (size < 1)
		return 0;

	database_encoding = data[0] == 'e' ? PG_SQL_ASCII : PG_UTF8;
	if (data[0] == 'r')
		FUZZ_CHECK(!verifies((const char *) data + 1, size - 1));
	else if (data[0] == 'b' || data[0] == 'e')
		sign_and_read((const char *) data + 1, size - 1);
	while (kept_count > 0)
		pfree(kept[--kept_count]);

	return 0;
}

static void
sign_and_read(const char *body, size_t size)
{
	const SecretsKey *key = &certificate_ring->keys[0];
	uint8 signature[SECRETS_SIGNATURE_SIZE];
	StringInfoData text;
	size_t header_size;
	char *header = header_of(key, &header_size);
	size_t changed;
	bool good;

	initStringInfo(&text);
	appendBinaryStringInfo(&text, header, (int) header_size);
	appendBinaryStringInfo(&text, body, (int) size);
	FUZZ_CHECK(plinth_secrets_sign(key, text.data, text.len, signature) ==
			   sizeof(signature));
	appendStringInfoChar(&text, '.');
	append_base64url(&text, signature, sizeof(signature));

	good = is_object(body, size);
	FUZZ_CHECK(verifies(text.data, text.len) == good ||
			   (good && database_encoding != PG_UTF8));
	FUZZ_CHECK(!verifies(text.data, text.len - 1));

	/* one bit, in a place that the input decides */
	changed = size * 7 % text.len;
	text.data[changed] ^= 1 << (size % 7);
	FUZZ_CHECK(!verifies(text.data, text.len));
	pfree(text.data);
}

static bool
is_object(const char *text, size_t size)
{
	char *json = malloc(PLINTH_BASE64URL_BYTES(size) + 1);
	JsonName *names = malloc(JSON_SCAN_NAMES(size) * sizeof(JsonName));
	JsonSlice object;
	size_t length;
	bool good;

	FUZZ_CHECK(json != NULL && names != NULL);
	good = plinth_bytes_from_base64url(text, size, json, &length) &&
		   plinth_json_check(json, length, false, names, &object) &&
		   object.kind == JSON_OBJECT;
	free(names);
	free(json);

	return good;
}

static bool
verifies(const char *bytes, size_t size)
{
	LOCAL_FCINFO(fcinfo, 1);
	text *argument = malloc(VARHDRSZ + size);
	Datum result;

	FUZZ_CHECK(argument != NULL);
	SET_VARSIZE(argument, VARHDRSZ + size);
	memcpy(VARDATA(argument), bytes, size);
	InitFunctionCallInfoData(*fcinfo, NULL, 1, InvalidOid, NULL, NULL);
	fcinfo->args[0].value = PointerGetDatum(argument);
	fcinfo->args[0].isnull = false;
	result = plinth_sql_certificate_verify(fcinfo);
	free(argument);
	/* see jsonb_in() */
	FUZZ_CHECK(fcinfo->isnull || result != (Datum) 0);

	return !fcinfo->isnull;
}

/* What the file takes from the server and from other rooms. */
void
plinth_json_string(StringInfo out, const char *text, size_t length)
{
	appendStringInfoChar(out, '"');
	appendBinaryStringInfo(out, text, (int) length);
	appendStringInfoChar(out, '"');
}

const SecretsRing *
plinth_secrets_ring(void)
{
	return certificate_ring;
}

Datum
plinth_secrets_publish(SecretsPurpose purpose)
{
	abort();
}

int
GetDatabaseEncoding(void)
{
	return database_encoding;
}

Size
toast_raw_datum_size(Datum value)
{
	return VARSIZE_ANY(DatumGetPointer(value));
}

struct varlena *
pg_detoast_datum_packed(struct varlena *datum)
{
	return datum;
}

struct varlena *
pg_detoast_datum(struct varlena *datum)
{
	return datum;
}

/* Reads all of the text, so that a missing end is seen. */
Datum
jsonb_in(PG_FUNCTION_ARGS)
{
	const char *json = PG_GETARG_CSTRING(0);

	FUZZ_CHECK(strlen(json) >= 2);

	return CStringGetDatum(json);
}

Datum
DirectFunctionCall1Coll(PGFunction func, Oid collation, Datum arg1)
{
	LOCAL_FCINFO(fcinfo, 1);

	InitFunctionCallInfoData(*fcinfo, NULL, 1, collation, NULL, NULL);
	fcinfo->args[0].value = arg1;
	fcinfo->args[0].isnull = false;

	return func(fcinfo);
}

Oid
FindDefaultConversionProc(int32 for_encoding, int32 to_encoding)
{
	abort();
}

int
pg_do_encoding_conversion_buf(Oid proc, int src_encoding, int dest_encoding,
							  unsigned char *src, int srclen,
							  unsigned char *dest, int destlen, bool noError)
{
	abort();
}

char *
JsonbToCString(StringInfo out, JsonbContainer *in, int estimated_len)
{
	abort();
}

char *
pg_server_to_any(const char *s, int len, int encoding)
{
	abort();
}

text *
cstring_to_text_with_len(const char *s, int len)
{
	abort();
}

bool
errstart(int elevel, const char *domain)
{
	abort();
}

bool
errstart_cold(int elevel, const char *domain)
{
	abort();
}

void
errfinish(const char *filename, int lineno, const char *funcname)
{
	abort();
}

int
errcode(int sqlerrcode)
{
	abort();
}

int
errmsg(const char *fmt, ...)
{
	abort();
}

int
errmsg_internal(const char *fmt, ...)
{
	abort();
}

int
errdetail(const char *fmt, ...)
{
	abort();
}

int
errhint(const char *fmt, ...)
{
	abort();
}

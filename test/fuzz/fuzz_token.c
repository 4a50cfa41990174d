/*-------------------------------------------------------------------------
 *
 * fuzz_token.c
 *		Fuzz target: the token parser.
 *
 * The first byte of an input says what the rest is:
 *
 *		r	a token as somebody sends it
 *		s	header and payload with a newline between them, which are signed
 *			with a key that is known, so that the claims are read as well
 *
 * Whatever comes, the parser stays inside its memory; a token that is good has
 * a role, and its claims can be read once more.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fuzz_keys.h"

#include "base/bytes.h"
#include "claims/claims_token.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
static void check_token(const char *token, size_t length);
static void sign_and_check(const char *text, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *text = (const char *) data + 1;

	if (size < 1)
		return 0;
	if (data[0] == 'r')
	{
		char *token = fuzz_copy(text, size - 1);

		check_token(token, size - 1);
		free(token);
	}
	else if (data[0] == 's')
		sign_and_check(text, size - 1);

	return 0;
}

static void
check_token(const char *token, size_t length)
{
	static const TokenRules all_rules[] = {
		{.typ = "at+jwt", .issuer = "", .audience = "", .leeway = 30, .now = 2e9},
		{.typ = "",
		 .issuer = "iss",
		 .audience = "aud",
		 .leeway = 0,
		 .now = 1e9,
		 .ascii = true},
	};

	for (size_t i = 0; i < lengthof(all_rules); i++)
	{
		char *scratch = malloc(TOKEN_SCRATCH_SIZE(length));
		TokenClaims claims;
		TokenCause cause;

		FUZZ_CHECK(scratch != NULL);
		cause = plinth_claims_token_check(token, length, fuzz_ring(),
										  &all_rules[i], scratch, &claims);
		FUZZ_CHECK(plinth_claims_token_cause(cause) != NULL);
		if (cause == TOKEN_GOOD)
		{
			ClaimsBlock *block = malloc(CLAIMS_BLOCK_SIZE(claims.json_size));

			FUZZ_CHECK(block != NULL && claims.role != NULL);
			FUZZ_CHECK(strlen(claims.json) == claims.json_size);
			FUZZ_CHECK(strlen(claims.role) < length);
			FUZZ_CHECK(plinth_claims_scan(claims.json, claims.json_size,
										  all_rules[i].ascii, block));
			free(block);
		}
		free(scratch);
	}
}

static void
sign_and_check(const char *text, size_t size)
{
	const char *line = memchr(text, '\n', size);
	const SecretsKey *key;
	uint8 signature[SECRETS_SIGNATURE_SIZE];
	size_t header_size;
	size_t payload_size;
	size_t length;
	char *buffer;
	char *token;

	if (line == NULL)
		return;
	header_size = line - text;
	payload_size = size - header_size - 1;
	/* the key by what the header seems to ask for */
	key = &fuzz_ring()->keys[header_size % 2];

	buffer = malloc(PLINTH_BASE64URL_SIZE(header_size) +
					PLINTH_BASE64URL_SIZE(payload_size) +
					PLINTH_BASE64URL_SIZE(sizeof(signature)) + 3);
	FUZZ_CHECK(buffer != NULL);
	length = plinth_bytes_to_base64url(text, header_size, buffer);
	buffer[length++] = '.';
	length += plinth_bytes_to_base64url(line + 1, payload_size, buffer + length);
	header_size = plinth_secrets_sign(key, buffer, length, signature);
	buffer[length++] = '.';
	length += plinth_bytes_to_base64url(signature, header_size, buffer + length);

	token = fuzz_copy(buffer, length);
	check_token(token, length);
	free(token);
	free(buffer);
}

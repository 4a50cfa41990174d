/*-------------------------------------------------------------------------
 *
 * limiter_key.c
 *		What is counted: a tier or endpoint, and who is asking.
 *
 * A key keeps its texts for those who look at the table; its place in the
 * table, and whether two keys are the same, is decided by a 128-bit SipHash
 * under a secret that each start draws anew (S7.5), so that nobody can choose
 * keys that meet.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sodium.h>
#include <sys/socket.h>

#include "limiter/limiter_internal.h"

#include "base/bytes.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"

/* A text that is too long becomes its beginning and this hash, in base64url. */
#define DIGEST_BYTES 32
#define DIGEST_TEXT PLINTH_BASE64URL_SIZE(DIGEST_BYTES)

static size_t put_text(char *target, const char *source, size_t length,
					   bool *shrunk);

/*
 * Make a key of this database.
 *
 *	name		tier or endpoint
 *	parameters	what tells one use of an endpoint from another, or NULL
 *
 * Allocates nothing and raises no error, except for a name or an identifier
 * that is cut inside an invalid character, which text cannot be.
 */
void
plinth_limiter_key_make(LimiterKey *key, LimiterKind kind, const char *name,
						size_t name_length, const char *identifier,
						size_t identifier_length, const LimiterTerms *parameters)
{
	LimiterLabel *label = &key->label;
	bool name_shrunk;
	bool identifier_shrunk;

	label->window_us = parameters != NULL ? parameters->window_us : 0;
	label->limit = parameters != NULL ? parameters->limit : 0;
	label->database = MyDatabaseId;
	label->kind = kind;
	label->name_length = put_text(label->text, name, name_length, &name_shrunk);
	label->identifier_length =
		put_text(label->text + label->name_length, identifier,
				 identifier_length, &identifier_shrunk);
	label->shrunk = (name_shrunk ? LIMITER_NAME_SHRUNK : 0) |
					(identifier_shrunk ? LIMITER_IDENTIFIER_SHRUNK : 0);

	plinth_limiter_key_print(key);
}

/*
 * Hash the label of a key.
 */
void
plinth_limiter_key_print(LimiterKey *key)
{
	StaticAssertStmt(sizeof(key->print) == crypto_shorthash_siphashx24_BYTES,
					 "a key's print is one SipHash of 128 bits");

	crypto_shorthash_siphashx24(
		(unsigned char *) key->print, (const unsigned char *) &key->label,
		LIMITER_LABEL_SIZE(&key->label), plinth_limiter_table.shared->secret);
}

/*
 * How an address counts: IPv4 by itself, also where IPv6 carries it, IPv6 by
 * its /64, in the one spelling of inet_ntop().  Any other text counts as it
 * is.  Returns the text itself, or buffer, which has LIMITER_ADDRESS_SIZE
 * bytes.
 */
const char *
plinth_limiter_address_key(const char *address, size_t length, char *buffer,
						   size_t *key_length)
{
	char copy[INET6_ADDRSTRLEN];
	struct in6_addr binary;
	const char *zone;

	*key_length = length;
	if (length < 2 || memchr(address, ':', length) == NULL)
		return address;
	/* fe80::1%eth0: the zone says how to reach it, not who it is */
	zone = memchr(address, '%', length);
	if (zone != NULL)
		length = zone - address;
	if (length >= sizeof(copy))
		return address;
	memcpy(copy, address, length);
	copy[length] = '\0';
	if (inet_pton(AF_INET6, copy, &binary) != 1)
		return address;

	if (IN6_IS_ADDR_V4MAPPED(&binary))
		inet_ntop(AF_INET, &binary.s6_addr[12], buffer, LIMITER_ADDRESS_SIZE);
	else
	{
		memset(&binary.s6_addr[8], 0, 8);
		inet_ntop(AF_INET6, &binary, buffer, LIMITER_ADDRESS_SIZE - 3);
		strcat(buffer, "/64");
	}
	*key_length = strlen(buffer);

	return buffer;
}

/*
 * Copy a text of a key, at most LIMITER_TEXT_MAX bytes of it; returns how
 * many.  What is longer keeps its beginning and ends in a hash of the whole.
 */
static size_t
put_text(char *target, const char *source, size_t length, bool *shrunk)
{
	unsigned char digest[DIGEST_BYTES];
	char digest_text[DIGEST_TEXT + 1];
	size_t kept;

	*shrunk = length > LIMITER_TEXT_MAX;
	if (!*shrunk)
	{
		memcpy(target, source, length);
		return length;
	}

	kept = pg_mbcliplen(source, LIMITER_TEXT_MAX, LIMITER_TEXT_MAX - DIGEST_TEXT);
	memcpy(target, source, kept);
	crypto_generichash(digest, sizeof(digest), (const unsigned char *) source,
					   length, NULL, 0);
	plinth_bytes_to_base64url(digest, sizeof(digest), digest_text);
	memcpy(target + kept, digest_text, DIGEST_TEXT);

	return kept + DIGEST_TEXT;
}

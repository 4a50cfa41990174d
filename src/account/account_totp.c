/*-------------------------------------------------------------------------
 *
 * account_totp.c
 *		One-time passwords made of a shared secret and the time.
 *
 * HOTP is RFC 4226, TOTP is RFC 6238.  Pure: no clock, no catalog, no
 * setting; a code is made of the secret and a number alone.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "account/account_totp.h"

#include "common/hmac.h"
#include "common/sha2.h"

#include "base/bytes.h"

/* No HMAC that is used here is longer. */
#define MAC_MAX PG_SHA512_DIGEST_LENGTH

/* The alphabet of RFC 4648 section 6. */
static const char base32_digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

static void make_mac(pg_cryptohash_type hash, const uint8 *secret,
					 size_t secret_length, uint64 counter, uint8 *mac,
					 size_t mac_length);

void
plinth_account_hotp(pg_cryptohash_type hash, const uint8 *secret,
					size_t secret_length, uint64 counter, int digits, char *code)
{
	uint8 mac[MAC_MAX];
	size_t mac_length;
	uint32 number;
	int offset;

	Assert(digits >= 1 && digits <= ACCOUNT_OTP_DIGITS_MAX);

	switch (hash)
	{
		case PG_SHA1:
			mac_length = 20;
			break;
		case PG_SHA256:
			mac_length = PG_SHA256_DIGEST_LENGTH;
			break;
		case PG_SHA512:
			mac_length = PG_SHA512_DIGEST_LENGTH;
			break;
		default:
			elog(ERROR, "no one-time passwords are made with hash %d", hash);
	}
	make_mac(hash, secret, secret_length, counter, mac, mac_length);

	/* RFC 4226 section 5.3: 31 bits from where the last four bits say. */
	offset = mac[mac_length - 1] & 0x0f;
	number = ((uint32) (mac[offset] & 0x7f) << 24) |
			 ((uint32) mac[offset + 1] << 16) |
			 ((uint32) mac[offset + 2] << 8) | (uint32) mac[offset + 3];
	plinth_bytes_zero(mac, sizeof(mac));

	code[digits] = '\0';
	for (int i = digits - 1; i >= 0; i--)
	{
		code[i] = '0' + number % 10;
		number /= 10;
	}
}

int64
plinth_account_totp_match(const uint8 *secret, size_t secret_length,
						  const char *code, int64 step, int64 last_used)
{
	int64 match = -1;

	for (int64 tried = step - ACCOUNT_TOTP_WINDOW;
		 tried <= step + ACCOUNT_TOTP_WINDOW; tried++)
	{
		char right[ACCOUNT_OTP_DIGITS_MAX + 1];

		plinth_account_hotp(PG_SHA1, secret, secret_length, (uint64) tried,
							ACCOUNT_TOTP_DIGITS, right);
		if (plinth_bytes_equal(right, code, ACCOUNT_TOTP_DIGITS) &&
			tried > last_used)
			match = tried;
		plinth_bytes_zero(right, sizeof(right));
	}

	return match;
}

size_t
plinth_account_base32(const uint8 *bytes, size_t length, char *text)
{
	size_t written = 0;
	uint32 bits = 0;
	int held = 0;

	for (size_t i = 0; i < length; i++)
	{
		bits = (bits << 8 | bytes[i]) & 0xffff;
		held += 8;
		while (held >= 5)
		{
			held -= 5;
			text[written++] = base32_digits[(bits >> held) & 0x1f];
		}
	}
	if (held > 0)
		text[written++] = base32_digits[(bits << (5 - held)) & 0x1f];
	text[written] = '\0';

	return written;
}

/*
 * The HMAC of a counter, eight bytes with the highest first.
 */
static void
make_mac(pg_cryptohash_type hash, const uint8 *secret, size_t secret_length,
		 uint64 counter, uint8 *mac, size_t mac_length)
{
	pg_hmac_ctx *context = pg_hmac_create(hash);
	uint8 message[8];
	bool ok;

	for (int i = 7; i >= 0; i--)
	{
		message[i] = counter & 0xff;
		counter >>= 8;
	}

	ok = context != NULL && pg_hmac_init(context, secret, secret_length) == 0 &&
		 pg_hmac_update(context, message, sizeof(message)) == 0 &&
		 pg_hmac_final(context, mac, mac_length) == 0;
	pg_hmac_free(context);
	if (!ok)
		ereport(ERROR, (errcode(ERRCODE_INTERNAL_ERROR),
						errmsg("could not compute a one-time password"),
						errhint("The server's cryptographic library may not "
								"allow SHA-1.")));
}

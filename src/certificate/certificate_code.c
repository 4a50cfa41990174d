/*-------------------------------------------------------------------------
 *
 * certificate_code.c
 *		Random bytes as the number that is printed on a certificate.
 *
 * Pure: bytes in, characters out.
 *
 * The check character is that of the hybrid system MOD 37,36 of ISO 7064,
 * over prefix and code in upper case.  Any one wrong character shows, and any
 * two neighbours that change places, but for one pair in 630: for each of the
 * 36 states of the sum there is one such pair.  Codes that have one are not
 * given out, so that of what is given out, every exchange shows.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "certificate/certificate.h"

#include "base/compat.h"

#define CERTIFICATE_PREFIX "EVOLV-"

StaticAssertDecl(sizeof(CERTIFICATE_PREFIX) - 1 + 2 * CERTIFICATE_NUMBER_RANDOM ==
					 CERTIFICATE_NUMBER_SIZE,
				 "prefix and digits fill the number");

/* Characters of the check, a value each, and its two moduli. */
#define CHECK_CHARACTERS 36
#define CHECK_MODULUS (CHECK_CHARACTERS + 1)

static bool has_silent_exchange(char *code, size_t first, size_t length);
static int check_state(int state, int value);
static int check_value(char c);

/*
 * See certificate.h.
 */
void
plinth_certificate_number(const uint8 random[CERTIFICATE_NUMBER_RANDOM],
						  char number[CERTIFICATE_NUMBER_SIZE + 1])
{
	static const char digits[] = "0123456789ABCDEF";
	char *end = number + sizeof(CERTIFICATE_PREFIX) - 1;

	memcpy(number, CERTIFICATE_PREFIX, sizeof(CERTIFICATE_PREFIX) - 1);
	for (int i = 0; i < CERTIFICATE_NUMBER_RANDOM; i++)
	{
		*end++ = digits[random[i] >> 4];
		*end++ = digits[random[i] & 0xF];
	}
	*end = '\0';
}

/*
 * See certificate.h.
 */
bool
plinth_certificate_code(const char *prefix, size_t prefix_length,
						const uint8 *random, int length,
						char code[CERTIFICATE_CODE_SIZE + 1])
{
	/* Crockford's base 32: no I, L, O and U */
	static const char digits[] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
	static const char characters[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ";
	char plain[CERTIFICATE_CODE_MAX_PREFIX + CERTIFICATE_CODE_MAX + 1];
	size_t plain_length = prefix_length;
	int state = CHECK_CHARACTERS;
	char check;
	char *end = code;

	Assert(prefix_length >= 1 && prefix_length <= CERTIFICATE_CODE_MAX_PREFIX);
	Assert(length >= CERTIFICATE_CODE_MIN && length <= CERTIFICATE_CODE_MAX);

	memcpy(plain, prefix, prefix_length);
	for (int i = 0; i < length; i++)
		plain[plain_length++] = digits[random[i] % 32];
	for (size_t i = 0; i < plain_length; i++)
		state = check_state(state, check_value(plain[i]));
	check = characters[(CHECK_MODULUS - state) % CHECK_CHARACTERS];
	if (strchr(digits, check) == NULL)
		return false;
	plain[plain_length++] = check;

	/* what the issuer always writes before a code is not mistyped in it */
	if (has_silent_exchange(plain, prefix_length - 1, plain_length))
		return false;

	memcpy(end, prefix, prefix_length);
	end += prefix_length;
	for (int i = 0; i < length; i++)
	{
		if (i % CERTIFICATE_CODE_GROUP == 0)
			*end++ = '-';
		*end++ = plain[prefix_length + i];
	}
	*end++ = '-';
	*end++ = check;
	*end = '\0';

	return true;
}

/*
 * See certificate.h.
 */
bool
plinth_certificate_code_valid(const char *code, size_t length)
{
	int state = CHECK_CHARACTERS;
	int last = -1;
	bool any = false;

	for (size_t i = 0; i < length; i++)
	{
		int value;

		if (code[i] == ' ' || code[i] == '-')
			continue;
		value = check_value(code[i]);
		if (value < 0)
			return false;
		if (last >= 0)
		{
			state = check_state(state, last);
			any = true;
		}
		last = value;
	}

	return any && (state + last) % CHECK_CHARACTERS == 1;
}

/*
 * Are there neighbours from that character on whose exchange leaves the code
 * valid?  The code is as before when this returns.
 */
static bool
has_silent_exchange(char *code, size_t first, size_t length)
{
	bool silent = false;

	for (size_t i = first; i + 1 < length && !silent; i++)
	{
		char left = code[i];
		char right = code[i + 1];

		code[i] = right;
		code[i + 1] = left;
		silent = left != right && plinth_certificate_code_valid(code, length);
		code[i] = left;
		code[i + 1] = right;
	}

	return silent;
}

/*
 * The sum after one more character; it starts as 36 and stays in 1 to 36.
 */
static int
check_state(int state, int value)
{
	int sum = (state + value) % CHECK_CHARACTERS;

	return 2 * (sum == 0 ? CHECK_CHARACTERS : sum) % CHECK_MODULUS;
}

/*
 * The value of a letter or digit of ASCII, 0 to 35; -1 for anything else.
 */
static int
check_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'A' && c <= 'Z')
		return c - 'A' + 10;
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 10;
	return -1;
}

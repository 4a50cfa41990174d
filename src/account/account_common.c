/*-------------------------------------------------------------------------
 *
 * account_common.c
 *		Passwords that everybody tries first.
 *
 * A short list is built in; plinth.password_list names a longer one.  That
 * file is read through at each check, so that it may be replaced at any time
 * and no backend keeps a copy: a million lines take less time than the hash
 * that follows.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "account/account.h"

#include "common/string.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "storage/fd.h"

#include "base/bytes.h"

/* In order, lower case, not shorter than a password may be. */
static const char *const builtin_list[] = {
	"00000000",		"0123456789",	 "0987654321",	 "11111111",
	"111111111",	"1111111111",	 "11223344",	 "1122334455",
	"12121212",		"12312312",		 "123123123",	 "12341234",
	"123454321",	"12345678",		 "123456789",	 "1234567890",
	"123456789a",	"12345678a",	 "123456abc",	 "1234567a",
	"1234abcd",		"1234qwer",		 "123abc123",	 "123qweasd",
	"1q2w3e4r",		"1q2w3e4r5t",	 "1q2w3e4r5t6y", "1qaz2wsx",
	"1qaz2wsx3edc", "1qazxsw2",		 "22222222",	 "87654321",
	"88888888",		"987654321",	 "9876543210",	 "99999999",
	"a1234567",		"a12345678",	 "a123456789",	 "aa123456",
	"aa12345678",	"aaaaaaaa",		 "abc12345",	 "abc123456",
	"abcd1234",		"abcdefgh",		 "abcdefghi",	 "access14",
	"admin123",		"administrator", "alexander",	 "asdasdasd",
	"asdf1234",		"asdfasdf",		 "asdfghjk",	 "asdfghjkl",
	"baseball",		"basketball",	 "butterfly",	 "changeme",
	"charlie1",		"chocolate",	 "computer",	 "default1",
	"dragon123",	"football",		 "football1",	 "google123",
	"hello123",		"iloveyou",		 "iloveyou1",	 "internet",
	"jennifer",		"letmein1",		 "letmein123",	 "liverpool",
	"master123",	"michael1",		 "michelle",	 "midnight",
	"monkey123",	"mustang1",		 "p@ssw0rd",	 "p@ssword",
	"pa$$w0rd",		"pass1234",		 "passw0rd",	 "password",
	"password!",	"password1",	 "password1!",	 "password12",
	"password123",	"password1234",	 "password2",	 "princess",
	"princess1",	"q1w2e3r4",		 "q1w2e3r4t5",	 "qazwsxedc",
	"qwer1234",		"qwerty12",		 "qwerty123",	 "qwerty1234",
	"qwertyui",		"qwertyuiop",	 "samantha",	 "secret123",
	"starwars",		"sunshine",		 "sunshine1",	 "superman",
	"superman1",	"test1234",		 "testtest",	 "trustno1",
	"victoria",		"welcome1",		 "welcome123",	 "whatever",
	"zaq12wsx",		"zxcvbnm1",		 "zxcvbnm123",
};

static int compare_entries(const void *a, const void *b);
static bool in_file(const char *path, const char *folded);

/*
 * Is the password a common one: see account.h.
 */
bool
plinth_account_common(const char *password, size_t length)
{
	char *folded = pnstrdup(password, length);
	bool found;

	for (char *letter = folded; *letter != '\0'; letter++)
		*letter = pg_ascii_tolower((unsigned char) *letter);

	found = bsearch(&folded, builtin_list, lengthof(builtin_list),
					sizeof(builtin_list[0]), compare_entries) != NULL;
	if (!found && plinth_account_password_list != NULL &&
		plinth_account_password_list[0] != '\0')
		found = in_file(plinth_account_password_list, folded);

	plinth_bytes_zero(folded, length);
	pfree(folded);
	return found;
}

/*
 * Order of the built-in list: that of its bytes.
 */
static int
compare_entries(const void *a, const void *b)
{
	return strcmp(*(const char *const *) a, *(const char *const *) b);
}

/*
 * Is there a line with this text in the file?  Both are compared in lower
 * case; a carriage return at the end of a line does not count.
 */
static bool
in_file(const char *path, const char *folded)
{
	StringInfoData line;
	FILE *file = AllocateFile(path, "r");
	bool found = false;

	if (file == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("could not open the list of refused passwords"),
				 errdetail_log("\"%s\": %m", path),
				 errhint("The setting \"plinth.password_list\" names it.")));

	initStringInfo(&line);
	while (!found && pg_get_line_buf(file, &line))
	{
		(void) pg_strip_crlf(line.data);
		for (char *letter = line.data; *letter != '\0'; letter++)
			*letter = pg_ascii_tolower((unsigned char) *letter);
		found = strcmp(line.data, folded) == 0;
		CHECK_FOR_INTERRUPTS();
	}
	pfree(line.data);
	FreeFile(file);

	return found;
}

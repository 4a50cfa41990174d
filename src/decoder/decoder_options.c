/*-------------------------------------------------------------------------
 *
 * decoder_options.c
 *		The options of a slot that somebody reads with the plugin.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "decoder/decoder_output.h"

#include "access/xact.h"
#include "catalog/pg_publication.h"
#include "commands/defrem.h"
#include "nodes/parsenodes.h"
#include "replication/walsender.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/varlena.h"

#include "base/compat.h"
#include "base/names.h"

/*
 * Over the replication protocol a message costs more than a row, and its
 * readers take what comes as a stream of lines.
 */
#define BATCH_STREAMED 64
#define BATCH_MAX 1024

/* Options that are on or off. */
static const struct
{
	const char *name;
	size_t offset;
	bool value; /* when it is not given */
} switches[] = {
	{"include-transaction", offsetof(DecoderOptions, include_transaction), false},
	{"include-types", offsetof(DecoderOptions, include_types), false},
	{"include-xids", offsetof(DecoderOptions, include_xids), false},
	{"include-lsn", offsetof(DecoderOptions, include_lsn), true},
	{"include-timestamp", offsetof(DecoderOptions, include_timestamp), true},
	{"include-origin", offsetof(DecoderOptions, include_origin), false},
	{"only-local", offsetof(DecoderOptions, only_local), false},
	{"messages", offsetof(DecoderOptions, messages), false},
	{"streaming", offsetof(DecoderOptions, streaming), false},
};

static void read_option(DecoderOptions *options, const char *name,
						const char *value);
static List *read_publications(const char *value);
static int read_batch(const char *value);
static void check_publications(List *names);
pg_noreturn static void refuse_value(const char *name, const char *value,
									 const char *detail);
pg_noreturn static void refuse_option(const char *name);

void
plinth_decoder_read_options(DecoderOptions *options, List *given)
{
	ListCell *cell;

	memset(options, 0, sizeof(DecoderOptions));
	options->batch = am_walsender ? BATCH_STREAMED : 0;
	for (size_t i = 0; i < lengthof(switches); i++)
		*(bool *) ((char *) options + switches[i].offset) = switches[i].value;

	foreach (cell, given)
	{
		DefElem *option = lfirst(cell);

		read_option(options, option->defname,
					option->arg != NULL ? defGetString(option) : NULL);
	}
	check_publications(options->publications);
}

static void
read_option(DecoderOptions *options, const char *name, const char *value)
{
	for (size_t i = 0; i < lengthof(switches); i++)
		if (strcmp(name, switches[i].name) == 0)
		{
			bool *target = (bool *) ((char *) options + switches[i].offset);

			/* pg_recvlogical -o name gives no value */
			if (value == NULL)
				*target = true;
			else if (!parse_bool(value, target))
				refuse_value(name, value, "It is on or off.");
			return;
		}

	if (strcmp(name, "publication") == 0)
		options->publications = read_publications(value);
	else if (strcmp(name, "batch") == 0)
		options->batch = read_batch(value);
	else
		refuse_option(name);
}

static List *
read_publications(const char *value)
{
	List *names = NIL;

	if (value == NULL || !SplitIdentifierString(pstrdup(value), ',', &names) ||
		names == NIL)
		refuse_value("publication", value,
					 "It is a list of names with commas between them.");
	return names;
}

static int
read_batch(const char *value)
{
	int batch;

	if (value == NULL || !parse_int(value, &batch, 0, NULL) || batch < 0 ||
		batch > BATCH_MAX)
		refuse_value("batch", value, "It is a number of kB from 0 to 1024.");
	return batch;
}

/*
 * Publications have to exist now.  One that does not at some moment of the
 * past has no tables then.
 */
static void
check_publications(List *names)
{
	MemoryContext context = CurrentMemoryContext;
	bool in_transaction = IsTransactionState();
	ListCell *cell;

	if (names == NIL)
		return;

	/* a walsender reads its options outside a transaction */
	if (!in_transaction)
		StartTransactionCommand();
	foreach (cell, names)
		if (!OidIsValid(get_publication_oid(lfirst(cell), true)))
			ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT),
							errmsg("publication \"%s\" does not exist",
								   (char *) lfirst(cell))));
	if (!in_transaction)
		CommitTransactionCommand();
	MemoryContextSwitchTo(context);
}

static void
refuse_value(const char *name, const char *value, const char *detail)
{
	ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					errmsg("invalid value \"%s\" for option \"%s\" of output plugin "
						   "\"%s\"",
						   value != NULL ? value : "", name, PLINTH_LIBRARY),
					errdetail_internal("%s", detail)));
}

static void
refuse_option(const char *name)
{
	StringInfoData known;

	initStringInfo(&known);
	appendStringInfoString(&known, "publication, batch");
	for (size_t i = 0; i < lengthof(switches); i++)
		appendStringInfo(&known, ", %s", switches[i].name);

	ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					errmsg("unknown option \"%s\" of output plugin \"%s\"",
						   name, PLINTH_LIBRARY),
					errhint("The options are %s.", known.data)));
}

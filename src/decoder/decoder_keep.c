/*-------------------------------------------------------------------------
 *
 * decoder_keep.c
 *		What was decoded lately, kept for those who come back.
 *
 * Transactions that have been delivered are kept, the latest up to a bound of
 * memory, and with them the descriptions of tables that their changes point
 * to.  From the position kept_from on nothing is missing among them but
 * changes that nobody wanted when they were read, which are noted with their
 * tables.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "decoder/decoder_internal.h"

#include "utils/memutils.h"

static void append_kept(DecoderReader *reader, DecoderTransaction *transaction);
static void drop_oldest(DecoderReader *reader);
static XLogRecPtr oldest_commit(const DecoderReader *reader);

void
plinth_decoder_keep(DecoderReader *reader, Size limit)
{
	reader->keep_limit = limit;
}

const WireTransaction **
plinth_decoder_kept(const DecoderReader *reader, int *count)
{
	const WireTransaction **kept = palloc_extended(
		Max(reader->nkept, 1) * sizeof(WireTransaction *), MCXT_ALLOC_HUGE);
	dlist_iter iter;

	*count = 0;
	dlist_foreach (iter, &unconstify(DecoderReader *, reader)->kept)
		kept[(*count)++] =
			&dlist_container(DecoderTransaction, node, iter.cur)->wire;

	return kept;
}

XLogRecPtr
plinth_decoder_kept_from(const DecoderReader *reader, Oid relid, int wanted)
{
	return Max(reader->kept_from,
			   plinth_decoder_relation_kept_from(relid, wanted));
}

void
plinth_decoder_lose(DecoderReader *reader)
{
	reader->lost = true;
}

/*
 * The turn is over: keep what it has read, and free what is too much then.
 */
void
plinth_decoder_keep_finished(DecoderReader *reader)
{
	while (!dlist_is_empty(&reader->finished))
		append_kept(reader,
					dlist_container(DecoderTransaction, node,
									dlist_pop_head_node(&reader->finished)));
	reader->finished_memory = 0;

	if (reader->lost)
	{
		while (!dlist_is_empty(&reader->kept))
			drop_oldest(reader);
		reader->kept_from = plinth_decoder_read_up_to(reader);
		reader->lost = false;
	}
	plinth_decoder_relcache_sweep(oldest_commit(reader));
	while (!dlist_is_empty(&reader->kept) &&
		   reader->kept_memory + plinth_decoder_relcache_set_aside() >
			   reader->keep_limit)
	{
		drop_oldest(reader);
		plinth_decoder_relcache_sweep(oldest_commit(reader));
	}
}

static void
append_kept(DecoderReader *reader, DecoderTransaction *transaction)
{
	/* not whole: its readers were told of a gap */
	if (transaction->wire.overflowed)
		reader->lost = true;
	dlist_push_tail(&reader->kept, &transaction->node);
	reader->nkept++;
	reader->kept_memory += transaction->memory;
}

static void
drop_oldest(DecoderReader *reader)
{
	DecoderTransaction *oldest = dlist_container(
		DecoderTransaction, node, dlist_pop_head_node(&reader->kept));

	reader->nkept--;
	reader->kept_memory -= oldest->memory;
	reader->kept_from = oldest->wire.end_lsn;
	MemoryContextDelete(oldest->context);
}

/*
 * No change is left of a commit before this position.
 */
static XLogRecPtr
oldest_commit(const DecoderReader *reader)
{
	if (reader->nkept == 0)
		return plinth_decoder_read_up_to(reader);
	return dlist_head_element(DecoderTransaction, node,
							  &unconstify(DecoderReader *, reader)->kept)
		->wire.commit_lsn;
}

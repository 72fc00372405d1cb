import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { Context, JSONSerializer } from 'fabric-contract-api';

import { AssetContract, contracts } from '.';

// A peer's world state as far as the contract sees it: writes are kept only when the
// transaction ends well, and the range of keys is sorted.
class Ledger {
    public readonly state = new Map<string, Uint8Array>();

    public async run<T>(transaction: (contract: AssetContract, ctx: Context) => Promise<T>): Promise<T> {
        const { state } = this;
        const writes = new Map<string, Uint8Array>();
        const stub = {
            getState: async (key: string) => state.get(key) ?? new Uint8Array(),
            putState: async (key: string, value: Uint8Array) => void writes.set(key, value),
            getStateByRange: async function* () {
                for (const key of [...state.keys()].sort()) {
                    yield { key, value: state.get(key) };
                }
            },
        };
        const result = await transaction(new AssetContract(), { stub } as unknown as Context);
        writes.forEach((value, key) => state.set(key, value));
        return result;
    }

    public create(id: string, owner: string, value: number): Promise<void> {
        return this.run((contract, ctx) => contract.CreateAsset(ctx, id, owner, value));
    }
}

describe('AssetContract', () => {
    it('is what the package offers to the peer', () => {
        assert.deepEqual(contracts, [AssetContract]);
    });

    it('reads what it created, in the order of the keys', async () => {
        const ledger = new Ledger();
        assert.deepEqual(await ledger.run((c, ctx) => c.GetAllAssets(ctx)), []);
        await ledger.create('b', 'Aylin', 7);
        await ledger.create('a', 'Brook', 8);
        assert.deepEqual(await ledger.run((c, ctx) => c.ReadAsset(ctx, 'b')), { ID: 'b', Owner: 'Aylin', Value: 7 });
        assert.equal(await ledger.run((c, ctx) => c.AssetExists(ctx, 'c')), false);
        const all = await ledger.run((c, ctx) => c.GetAllAssets(ctx));
        assert.deepEqual(all.map((asset) => asset.ID), ['a', 'b']);
    });

    it('answers in JSON that the peer can pass on', async () => {
        const ledger = new Ledger();
        await ledger.create('a', 'Aylin', 7);
        const answer = new JSONSerializer().toBuffer(await ledger.run((c, ctx) => c.GetAllAssets(ctx)), {});
        assert.equal(answer.toString(), '[{"ID":"a","Owner":"Aylin","Value":7}]');
    });

    it('writes the same bytes as the sample in Go', async () => {
        const ledger = new Ledger();
        await ledger.create('a', 'Aylin', 7);
        assert.equal(Buffer.from(ledger.state.get('a')!).toString(), '{"ID":"a","Owner":"Aylin","Value":7}');
    });

    const refused: [string, string, string, number, RegExp][] = [
        ['an asset twice', 'taken', 'Dana', 1, /asset "taken" exists already/],
        ['no ID', '', 'Dana', 1, /needs an ID/],
        ['no owner', 'a', '', 1, /needs an owner/],
        ['a value below zero', 'a', 'Dana', -1, /whole number/],
        ['a broken value', 'a', 'Dana', 1.5, /whole number/],
    ];
    for (const [why, id, owner, value, want] of refused) {
        it(`refuses ${why}`, async () => {
            const ledger = new Ledger();
            await ledger.create('taken', 'Aylin', 1);
            await assert.rejects(ledger.create(id, owner, value), want);
            assert.equal(ledger.state.size, 1);
        });
    }

    it('says which key holds something foreign', async () => {
        const ledger = new Ledger();
        ledger.state.set('x', Buffer.from('not JSON'));
        await assert.rejects(ledger.run((c, ctx) => c.ReadAsset(ctx, 'x')), /decoding asset "x"/);
        await assert.rejects(ledger.run((c, ctx) => c.ReadAsset(ctx, 'y')), /asset "y" does not exist/);
    });
});

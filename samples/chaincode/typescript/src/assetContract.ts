import { Context, Contract, Info, Returns, Transaction } from 'fabric-contract-api';

import { Asset } from './asset';

// The name of a method is the name to call; its types become the contract's description,
// by which arguments are converted and checked.
@Info({ title: 'AssetContract', description: 'Assets that have an owner and a value' })
export class AssetContract extends Contract {
    @Transaction()
    public async CreateAsset(ctx: Context, id: string, owner: string, value: number): Promise<void> {
        if (await this.AssetExists(ctx, id)) {
            throw new Error(`asset "${id}" exists already`);
        }
        await put(ctx, { ID: id, Owner: owner, Value: value });
    }

    @Transaction(false)
    @Returns('Asset')
    public async ReadAsset(ctx: Context, id: string): Promise<Asset> {
        const data = await ctx.stub.getState(id);
        if (data.length === 0) {
            throw new Error(`asset "${id}" does not exist`);
        }
        return decode(id, data);
    }

    @Transaction(false)
    @Returns('boolean')
    public async AssetExists(ctx: Context, id: string): Promise<boolean> {
        const data = await ctx.stub.getState(id);
        return data.length > 0;
    }

    // Ordered by ID, which is the order of the ledger's keys.
    @Transaction(false)
    @Returns('Asset[]')
    public async GetAllAssets(ctx: Context): Promise<Asset[]> {
        const assets: Asset[] = [];
        for await (const { key, value } of ctx.stub.getStateByRange('', '')) {
            assets.push(decode(key, value));
        }
        return assets;
    }
}

async function put(ctx: Context, asset: Asset): Promise<void> {
    if (asset.ID === '') {
        throw new Error('an asset needs an ID');
    }
    if (asset.Owner === '') {
        throw new Error(`asset "${asset.ID}" needs an owner`);
    }
    if (!Number.isSafeInteger(asset.Value) || asset.Value < 0) {
        throw new Error(`asset "${asset.ID}": the value must be a whole number from 0`);
    }
    await ctx.stub.putState(asset.ID, Buffer.from(JSON.stringify(asset)));
}

function decode(id: string, data: Uint8Array): Asset {
    try {
        return JSON.parse(Buffer.from(data).toString('utf8')) as Asset;
    } catch (err) {
        throw new Error(`decoding asset "${id}": ${(err as Error).message}`);
    }
}
